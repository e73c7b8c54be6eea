"""The whole way of the data on one screen: a recipe in, the stages of its run out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from croco import models
from croco.datafiles import FileRef, refer
from croco.engines import ENGINES
from croco.errors import RecipeError
from croco.languages import IDENTIFIERS
from croco.models import ModelRef
from croco.plugins import check_name, see, source_digest
from croco.recipe import Arm, Recipe
from croco.records import (
    Audit,
    Draft,
    Metric,
    Pairs,
    Prompt,
    Responses,
    Rewards,
    Step,
    Translation,
    Verdicts,
)
from croco.reward_settings import RewardConfig
from croco.rewards import SCORERS
from croco.settings import Resources, Sampling, Translate
from croco.stage import Stage
from croco.stages import audit, judge, pair, prompts, report, sample, score, train, translate
from croco.training import TRAINERS
from croco.translation import TRANSLATORS

#: Raised when what a stage computes changes, so that old artifacts are not taken for new ones.
VERSIONS = dict.fromkeys(
    (
        "prompts",
        "translate",
        "sample",
        "reward",
        "score",
        "pair",
        "train",
        "judge",
        "audit",
        "report",
    ),
    1,
) | {"pair": 2, "report": 2}


def build(recipe: Recipe) -> dict[str, Stage]:
    """The stages of a run by name, each after its inputs."""
    see(recipe.folder)
    policy = models.resolve(recipe.policy, recipe.folder)
    training = _prompts(recipe, "train")
    heldout = _prompts(recipe, "heldout")
    drafts = [one for stage in (training, heldout) for one in stage.inputs.values()]
    trained = _reward(recipe)
    audited = _audit(recipe, trained)
    samples = _sample(recipe, "sample", policy, training, recipe.sample)
    scores = _score(recipe, training, samples, trained)
    base = _evaluated(recipe, "base.sample", policy, heldout)
    # The reward and its audit come first: a bad one is better known before much is spent.
    stages = [
        *drafts,
        training,
        heldout,
        *([trained] if trained else []),
        audited,
        samples,
        scores,
        base,
    ]
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
    answers = _evaluated(recipe, f"{name}.sample", policy, heldout, tuned)
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
    verdicts = _stage(
        recipe,
        f"{name}.judge",
        judge.judge,
        config,
        Verdicts,
        inputs,
        unit="row",
        engines=_engines(evaluation.judge),
    )
    return [pairs, tuned, answers, verdicts]


def _prompts(recipe: Recipe, which: Literal["train", "heldout"]) -> Stage:
    """Prompts as they are read, or translated from drafts, which are then the stage's input."""
    source, translation = recipe.prompts, recipe.translate
    held_out = which == "heldout"
    config = prompts.Config(
        files=_files(source.heldout if held_out else source.train, recipe.folder),
        languages=sorted(set(recipe.languages)),
        limit=source.heldout_limit if held_out else source.train_limit,
        never=_files(source.train, recipe.folder) if held_out else [],
        source=translation.source if translation else None,
    )
    record = Draft if translation else Prompt
    name = f"prompts-{which}"
    read = _stage(recipe, name, prompts.prompts, config, record, {}, shards=recipe.shards)
    return _translate(recipe, f"translate-{which}", read, translation) if translation else read


def _translate(recipe: Recipe, name: str, drafts: Stage, translation: Translate) -> Stage:
    prompted, checks = translation.prompt, translation.checks
    config = translate.Config(
        translate=translation.bound(recipe.folder),
        seed=recipe.seed,
        code=_code(
            (translation.translator, TRANSLATORS, "translate.translator"),
            (checks.identifier, IDENTIFIERS, "translate.checks.identifier"),
            *([(prompted.engine, ENGINES, "translate.prompt.engine")] if prompted else []),
        ),
    )
    return _stage(
        recipe,
        name,
        translate.translate,
        config,
        Translation,
        {"drafts": drafts},
        unit="row",
        engines=[prompted.engine] if prompted else [],
    )


def _sample(
    recipe: Recipe,
    name: str,
    policy: ModelRef,
    source: Stage,
    sampling: Sampling,
    adapter: Stage | None = None,
) -> Stage:
    code = _code((sampling.engine, ENGINES, "sample.engine"))
    config = sample.Config(policy=policy, sampling=sampling, seed=recipe.seed, code=code)
    inputs = {"prompts": source} | ({"adapter": adapter} if adapter else {})
    return _stage(
        recipe,
        name,
        sample.sample,
        config,
        Responses,
        inputs,
        unit="row",
        grows="config.sampling.n",
        engines=[sampling.engine],
    )


def _evaluated(
    recipe: Recipe, name: str, policy: ModelRef, heldout: Stage, adapter: Stage | None = None
) -> Stage:
    """Answers to held-out prompts, base's and an arm's by the same engine."""
    own = recipe.evaluate
    update = {"n": own.n, "engine": own.engine or recipe.sample.engine}
    if update["engine"] == "openai":
        raise RecipeError(
            "evaluate.engine: a server cannot take the adapters that are tuned in the run: sample the"
            " answers to held-out prompts by transformers or vllm"
        )
    sampling = recipe.sample.model_copy(update=update | {"extra": None})
    return _sample(recipe, name, policy, heldout, sampling, adapter)


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
    engines = _engines(reward)
    return _stage(
        recipe, "score", score.score, config, Rewards, inputs, unit="row", engines=engines
    )


def _audit(recipe: Recipe, trained: Stage | None) -> Stage:
    config = audit.Config(
        reward=recipe.reward.bound(recipe.folder),
        code=_code(*_names(recipe.reward)),
        files=_files(recipe.evaluate.audit, recipe.folder),
        seed=recipe.seed,
    )
    inputs = {"reward": trained} if trained else {}
    engines = _engines(recipe.reward) if config.files else []
    return _stage(recipe, "audit", audit.audit, config, Audit, inputs, engines=engines)


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
    engines: Iterable[str] = (),
    **more: Any,
) -> Stage:
    kind = name.rpartition(".")[2].partition("-")[0]
    resources = recipe.resources.get(kind, Resources())  # type: ignore[call-overload]
    served = sorted({"openai", "server"} & set(engines))
    if served and resources.server is None:
        raise RecipeError(
            f"{served[0]!r} in stage {name!r} needs a server: give its address in"
            f" resources.{kind}.server.url"
        )
    shards = next(iter(inputs.values())).shards if inputs and more.get("unit") else 1
    return Stage(
        name=name,
        kind=kind,
        version=VERSIONS[kind],
        function=function,
        config=config,
        record=record,
        inputs=inputs,
        resources=resources,
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


def _engines(config: RewardConfig) -> list[str]:
    """What may need a server in a reward and its parts."""
    return [
        name
        for one in config.walk()
        for name in (one.kind, one.prompt and one.prompt.engine)
        if name
    ]


def _names(config: RewardConfig) -> list[Name]:
    """The names that stand for code in a reward and its parts."""
    found: list[Name] = []
    for one in config.walk():
        found.append((one.kind, SCORERS, "reward kind"))
        if one.prompt:
            found.append((one.prompt.engine, ENGINES, "prompt.engine"))
        if one.function:
            found.append((one.function, {}, "function"))
        for identifier in (one.identifier, one.gate and one.gate.identifier):
            if identifier:
                found.append((identifier, IDENTIFIERS, "identifier"))
    return found
