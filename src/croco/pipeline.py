"""The whole way of the data on one screen: a recipe in, the stages of its run out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from croco import models
from croco.datafiles import FileRef, refer
from croco.engines import ENGINES
from croco.languages import IDENTIFIERS
from croco.models import ModelRef
from croco.plugins import check_name, see, source_digest
from croco.recipe import Arm, Recipe, Resources, RewardConfig
from croco.records import Audit, Metric, Pairs, Prompt, Responses, Rewards, Step, Verdicts
from croco.rewards import SCORERS
from croco.stage import Stage
from croco.stages import audit, judge, pair, prompts, report, sample, score, train
from croco.training import TRAINERS

#: Raised when what a stage computes changes, so that old artifacts are not taken for new ones.
VERSIONS = dict.fromkeys(
    ("prompts", "sample", "reward", "score", "pair", "train", "judge", "audit", "report"), 1
) | {"pair": 2, "report": 2}


def build(recipe: Recipe) -> dict[str, Stage]:
    """The stages of a run by name, each after its inputs."""
    see(recipe.folder)
    policy = models.resolve(recipe.policy, recipe.folder)
    training = _prompts(recipe, "prompts-train", held_out=False)
    heldout = _prompts(recipe, "prompts-heldout", held_out=True)
    trained = _reward(recipe)
    audited = _audit(recipe, trained)
    samples = _sample(recipe, "sample", policy, training, recipe.sample.n)
    scores = _score(recipe, training, samples, trained)
    base = _sample(recipe, "base.sample", policy, heldout, recipe.evaluate.n)
    # The reward and its audit come first: a bad one is better known before much is spent.
    stages = [training, heldout, *([trained] if trained else []), audited, samples, scores, base]
    for name, arm in recipe.arms.items():
        stages += _arm(recipe, name, arm, policy, scores, samples, heldout, base)
    named = {stage.name: stage for stage in stages}
    return named | {"report": _report(recipe, named)}


def _arm(
    recipe: Recipe,
    name: str,
    arm: Arm,
    policy: ModelRef,
    scores: Stage,
    samples: Stage,
    heldout: Stage,
    base: Stage,
) -> list[Stage]:
    pairs = _stage(
        recipe,
        f"{name}.pair",
        pair.pair,
        pair.Config(
            pair=arm.pair,
            seed=recipe.seed,
            code=_code((arm.pair.filters.identifier, IDENTIFIERS, "pair.filters.identifier")),
        ),
        Pairs,
        {"score": scores, "sample": samples},
        unit="shard",
    )
    tuned = _stage(
        recipe,
        f"{name}.train",
        train.train,
        train.Config(
            policy=policy,
            train=arm.train,
            seed=recipe.seed,
            code=_code((arm.train.trainer, TRAINERS, "trainer")),
        ),
        Step,
        {"pair": pairs, "sample": samples},
    )
    answers = _sample(recipe, f"{name}.sample", policy, heldout, recipe.evaluate.n, tuned)
    evaluation = recipe.evaluate
    config = judge.Config(
        judge=evaluation.judge.bound(recipe.folder),
        tie=evaluation.tie,
        identifier=evaluation.identifier,
        code=_code(
            *_names(evaluation.judge), (evaluation.identifier, IDENTIFIERS, "evaluate.identifier")
        ),
    )
    inputs = {"prompts": heldout, "base": base, "tuned": answers}
    verdicts = _stage(recipe, f"{name}.judge", judge.judge, config, Verdicts, inputs, unit="row")
    return [pairs, tuned, answers, verdicts]


def _prompts(recipe: Recipe, name: str, held_out: bool) -> Stage:
    source = recipe.prompts
    config = prompts.Config(
        files=_files(source.heldout if held_out else source.train, recipe.folder),
        languages=sorted(set(recipe.languages)),
        limit=source.heldout_limit if held_out else source.train_limit,
        never=_files(source.train, recipe.folder) if held_out else [],
    )
    return _stage(recipe, name, prompts.prompts, config, Prompt, {}, shards=recipe.shards)


def _sample(
    recipe: Recipe, name: str, policy: ModelRef, source: Stage, n: int, adapter: Stage | None = None
) -> Stage:
    sampling = recipe.sample.model_copy(update={"n": n})
    code = _code((sampling.engine, ENGINES, "sample.engine"))
    config = sample.Config(policy=policy, sampling=sampling, seed=recipe.seed, code=code)
    inputs = {"prompts": source} | ({"adapter": adapter} if adapter else {})
    return _stage(recipe, name, sample.sample, config, Responses, inputs, unit="row")


def _reward(recipe: Recipe) -> Stage | None:
    """The training of the reward model, where the recipe has one to train."""
    training = recipe.reward.training
    if training is None:
        return None
    config = score.TrainingConfig(
        train=training.bound(recipe.folder),
        files=_files(training.files, recipe.folder),
    )
    return _stage(recipe, "reward", score.train_reward, config, Step, {})


def _score(recipe: Recipe, source: Stage, samples: Stage, trained: Stage | None) -> Stage:
    reward = recipe.reward
    config = score.Config(reward=reward.bound(recipe.folder), code=_code(*_names(reward)))
    inputs = {"sample": samples, "prompts": source} | ({"reward": trained} if trained else {})
    return _stage(recipe, "score", score.score, config, Rewards, inputs, unit="row")


def _audit(recipe: Recipe, trained: Stage | None) -> Stage:
    config = audit.Config(
        reward=recipe.reward.bound(recipe.folder),
        code=_code(*_names(recipe.reward)),
        files=_files(recipe.evaluate.audit, recipe.folder),
        seed=recipe.seed,
    )
    return _stage(
        recipe, "audit", audit.audit, config, Audit, {"reward": trained} if trained else {}
    )


def _report(recipe: Recipe, stages: dict[str, Stage]) -> Stage:
    config = report.Config(recipe=recipe.model_dump(mode="json", exclude={"resources"}))
    return _stage(recipe, "report", report.report, config, Metric, stages)


def _stage(
    recipe: Recipe,
    name: str,
    function: Any,
    config: Any,
    record: type[Any],
    inputs: dict[str, Stage],
    **more: Any,
) -> Stage:
    kind = name.rpartition(".")[2].partition("-")[0]
    shards = next(iter(inputs.values())).shards if inputs and more.get("unit") else 1
    return Stage(
        name=name,
        kind=kind,
        version=VERSIONS[kind],
        function=function,
        config=config,
        record=record,
        inputs=inputs,
        resources=recipe.resources.get(kind, Resources()),  # type: ignore[call-overload]
        allow_failed=recipe.allow_failed,
        **({"shards": shards} | more),
    )


def _files(names: list[str], folder: Path) -> list[FileRef]:
    return [refer(name, folder) for name in names]


#: A name in a recipe that stands for code, the table it may come from, and what it is.
Name = tuple[str, Mapping[str, str], str]


def _code(*names: Name) -> dict[str, str]:
    """The digests of the user's code behind some names; RecipeError where a name means nothing."""
    for name, table, what in names:
        check_name(name, table, what)
    return {name: source_digest(name) for name, _, _ in names if ":" in name}


def _names(config: RewardConfig) -> list[Name]:
    """The names that stand for code in a reward and its parts."""
    found: list[Name] = []
    for one in config.walk():
        found.append((one.kind, SCORERS, "reward kind"))
        if one.function:
            found.append((one.function, {}, "function"))
        for identifier in (one.identifier, one.gate and one.gate.identifier):
            if identifier:
                found.append((identifier, IDENTIFIERS, "identifier"))
    return found
