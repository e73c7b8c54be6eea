"""The whole way of the data on one screen: a recipe in, the stages of its run out."""

from __future__ import annotations

from typing import Literal

from croco import forgetting, models
from croco.building import code_of, engines_of, files_of, names_of, prompt_files_of, stage_of
from croco.comparison import build_comparison
from croco.engines import ENGINES
from croco.errors import RecipeError
from croco.euroeval import sets_for
from croco.evaluating import judged, spoken
from croco.languages import IDENTIFIERS
from croco.models import ModelRef
from croco.plugins import see
from croco.recipe import AnyRecipe, Arm, Comparison, Recipe
from croco.records import (
    Audited,
    Benchmarked,
    Draft,
    Metric,
    Overlap,
    Pairs,
    Prompt,
    Responses,
    Rewards,
    Step,
    Translation,
)
from croco.settings import Sampling, Translate
from croco.stage import Stage
from croco.stages import (
    audit,
    benchmark,
    contamination,
    pair,
    prompts,
    report,
    sample,
    score,
    train,
    translate,
)
from croco.training import TRAINERS
from croco.translation import TRANSLATORS


def build(recipe: AnyRecipe) -> dict[str, Stage]:
    """The stages of a run by name, each after its inputs."""
    see(recipe.folder)
    return build_comparison(recipe) if isinstance(recipe, Comparison) else _build(recipe)


def _build(recipe: Recipe) -> dict[str, Stage]:
    policy = models.resolve(recipe.policy, recipe.folder)
    training = _prompts(recipe, "train")
    heldout = _prompts(recipe, "heldout")
    trained = _reward(recipe)
    audited = _audit(recipe, trained)
    samples = _sample(recipe, "sample", policy, training, recipe.sample)
    scores = _score(recipe, training, samples, trained)
    base = _evaluated(recipe, "base.sample", policy, heldout)
    # What is contaminated, and the reward and its audit, are better known before much is spent.
    stages = [
        *_prepared(recipe, training, heldout),
        *([trained] if trained else []),
        audited,
        samples,
        scores,
        base,
        spoken(recipe, "base", base),
        *_benchmark(recipe, "base", policy),
    ]
    for name, arm in recipe.arms.items():
        stages += _arm(recipe, name, arm, policy, scores, samples, heldout, base)
    named = {stage.name: stage for stage in stages}
    named |= {stage.name: stage for stage in forgetting.stages_of(recipe, policy, named)}
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
    pairs = stage_of(
        recipe,
        f"{name}.pair",
        pair.pair,
        pair.Config(
            pair=arm.pair,
            seed=recipe.seed,
            code=code_of((arm.pair.filters.identifier, IDENTIFIERS, "pair.filters.identifier")),
        ),
        Pairs,
        {"score": scores, "sample": samples},
        unit="shard",
        # Calibration reads the rewards of all shards.
        aligned={"sample"} if arm.pair.normalise != "none" else {"sample", "score"},
    )
    tuned = stage_of(
        recipe,
        f"{name}.train",
        train.train,
        train.Config(
            policy=policy,
            train=arm.train,
            seed=recipe.seed,
            code=code_of((arm.train.trainer, TRAINERS, "trainer")),
        ),
        Step,
        {"pair": pairs, "sample": samples},
    )
    answers = _evaluated(recipe, f"{name}.sample", policy, heldout, tuned)
    verdicts = judged(recipe, name, heldout, base, answers)
    return [
        pairs,
        tuned,
        answers,
        spoken(recipe, name, answers),
        verdicts,
        *_benchmark(recipe, name, policy, tuned),
    ]


def _prompts(recipe: Recipe, which: Literal["train", "heldout"]) -> Stage:
    """Prompts as they are read, or translated from drafts, which are then the stage's input."""
    source, translation = recipe.prompts, recipe.translate
    held_out = which == "heldout"
    config = prompts.Config(
        files=prompt_files_of(source.heldout if held_out else source.train, recipe.folder),
        languages=sorted({*recipe.languages, *(recipe.evaluate.languages if held_out else [])}),
        limit=source.heldout_limit if held_out else source.train_limit,
        never=prompt_files_of(source.train, recipe.folder) if held_out else [],
        source=translation.source if translation else None,
        repair_escapes=source.repair_escapes,
    )
    record = Draft if translation else Prompt
    name = f"prompts-{which}"
    read = stage_of(recipe, name, prompts.prompts, config, record, {}, shards=recipe.shards)
    return _translate(recipe, f"translate-{which}", read, translation) if translation else read


def _translate(recipe: Recipe, name: str, drafts: Stage, translation: Translate) -> Stage:
    prompted, checks = translation.prompt, translation.checks
    config = translate.Config(
        translate=translation.bound(recipe.folder),
        seed=recipe.seed,
        code=code_of(
            (translation.translator, TRANSLATORS, "translate.translator"),
            (checks.identifier, IDENTIFIERS, "translate.checks.identifier"),
            *([(prompted.engine, ENGINES, "translate.prompt.engine")] if prompted else []),
        ),
    )
    return stage_of(
        recipe,
        name,
        translate.translate,
        config,
        Translation,
        {"drafts": drafts},
        unit="row",
        aligned={"drafts"},
        engines=[prompted.engine] if prompted else [],
    )


def _prepared(recipe: Recipe, training: Stage, heldout: Stage) -> list[Stage]:
    """The prompts and their contamination, which is looked for before they are translated, and after."""
    both = [training, heldout]
    drafts = [one for stage in both for one in stage.inputs.values()]
    if not drafts:
        return [*both, _contamination(recipe, "contamination", both)]
    written = _contamination(recipe, "contamination", drafts)
    translated = _contamination(recipe, "contamination-translated", [*drafts, *both])
    return [*drafts, written, *both, translated]


def _contamination(recipe: Recipe, name: str, sides: list[Stage]) -> Stage:
    inputs = {stage.name: stage for stage in sides}
    source = [recipe.translate.source] if recipe.translate else []
    config = contamination.Config(
        train=prompt_files_of(recipe.prompts.train, recipe.folder),
        heldout=prompt_files_of(recipe.prompts.heldout, recipe.folder),
        languages=sorted({*recipe.languages, *source}),
    )
    return stage_of(recipe, name, contamination.contamination, config, Overlap, inputs)


def _sample(
    recipe: Recipe,
    name: str,
    policy: ModelRef,
    source: Stage,
    sampling: Sampling,
    adapter: Stage | None = None,
) -> Stage:
    code = code_of((sampling.engine, ENGINES, "sample.engine"))
    config = sample.Config(policy=policy, sampling=sampling, seed=recipe.seed, code=code)
    inputs = {"prompts": source} | ({"adapter": adapter} if adapter else {})
    return stage_of(
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
        files=files_of(training.files, recipe.folder),
    )
    return stage_of(recipe, "reward", score.train_reward, config, Step, {})


def _score(recipe: Recipe, source: Stage, samples: Stage, trained: Stage | None) -> Stage:
    reward = recipe.reward
    config = score.Config(reward=reward.bound(recipe.folder), code=code_of(*names_of(reward)))
    inputs = {"sample": samples, "prompts": source} | ({"reward": trained} if trained else {})
    return stage_of(
        recipe,
        "score",
        score.score,
        config,
        Rewards,
        inputs,
        unit="row",
        engines=engines_of(reward),
        aligned={"sample", "prompts"},
    )


def _audit(recipe: Recipe, trained: Stage | None) -> Stage:
    config = audit.Config(
        reward=recipe.reward.bound(recipe.folder),
        code=code_of(
            *names_of(recipe.reward),
            (recipe.evaluate.identifier, IDENTIFIERS, "evaluate.identifier"),
        ),
        files=files_of(recipe.evaluate.audit, recipe.folder),
        identifier=recipe.evaluate.identifier,
    )
    inputs = {"reward": trained} if trained else {}
    engines = engines_of(recipe.reward) if config.files else []
    return stage_of(recipe, "audit", audit.audit, config, Audited, inputs, engines=engines)


def _benchmark(
    recipe: Recipe, name: str, policy: ModelRef, adapter: Stage | None = None
) -> list[Stage]:
    """EuroEval on the policy or on an arm's adapter, where the recipe asks for it."""
    settings = recipe.evaluate.benchmark
    if settings is None:
        return []
    if policy.name == "fake":
        raise RecipeError("evaluate.benchmark: EuroEval needs a real model as policy: name one")
    datasets = settings.datasets or sets_for(recipe.languages)[0]
    if not datasets:
        raise RecipeError(
            "evaluate.benchmark: EuroEval's data sets of the paper are in none of the recipe's"
            " languages: give evaluate.benchmark.datasets, or take evaluate.benchmark out"
        )
    config = benchmark.Config(
        policy=policy,
        allow_failed=recipe.allow_failed,
        **settings.model_dump() | {"datasets": datasets},
    )
    inputs = {"adapter": adapter} if adapter else {}
    return [stage_of(recipe, f"{name}.benchmark", benchmark.benchmark, config, Benchmarked, inputs)]


def _report(recipe: Recipe, stages: dict[str, Stage]) -> Stage:
    config = report.Config(recipe=recipe.model_dump(mode="json", exclude={"resources", "executor"}))
    return stage_of(recipe, "report", report.report, config, Metric, stages)
