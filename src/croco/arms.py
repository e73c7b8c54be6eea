"""The stages of an arm: its pairs, its training, and the answers and figures of what it tuned."""

from __future__ import annotations

from dataclasses import dataclass

from croco.building import code_of, engines_of, names_of, stage_of
from croco.engines import ENGINES
from croco.errors import RecipeError
from croco.euroeval import sets_for
from croco.evaluating import judged, spoken
from croco.languages import IDENTIFIERS
from croco.models import ModelRef
from croco.recipe import Arm, Recipe
from croco.records import Benchmarked, Pairs, References, Responses, Rewards, Step
from croco.settings import Sampling
from croco.stage import Stage
from croco.stages import benchmark, pair, reference, sample, score, train
from croco.training import TRAINERS
from croco.training_settings import TrainConfig


@dataclass(frozen=True)
class Shared:
    """What arms have in common: the policy, its answers to training prompts and their rewards, and its
    answers to held-out prompts."""

    policy: ModelRef
    samples: Stage
    scores: Stage
    heldout: Stage
    base: Stage


def stages_of(recipe: Recipe, name: str, shared: Shared, start: Stage | None) -> list[Stage]:
    """An arm's stages; `start` is the training whose policy this one goes on from, if it does."""
    arm, policy = recipe.arms[name], shared.policy
    pairs = _pairs(recipe, name, arm, shared)
    read = {"pair": pairs, "sample": shared.samples} | ({"start": start} if start else {})
    references = _reference(recipe, name, arm.train, policy, read)
    tuned = _train(recipe, name, arm.train, policy, read | references)
    answers = evaluated(recipe, f"{name}.sample", policy, shared.heldout, tuned)
    return [
        pairs,
        *references.values(),
        tuned,
        answers,
        spoken(recipe, name, answers),
        judged(recipe, name, shared.heldout, shared.base, answers),
        *benchmarked(recipe, name, policy, tuned),
    ]


def _pairs(recipe: Recipe, name: str, arm: Arm, shared: Shared) -> Stage:
    identifier = (arm.pair.filters.identifier, IDENTIFIERS, "pair.filters.identifier")
    config = pair.Config(pair=arm.pair, seed=recipe.seed, code=code_of(identifier))
    inputs = {"score": shared.scores, "sample": shared.samples}
    # Calibration reads the rewards of all shards.
    near = {"sample"} if arm.pair.normalise != "none" else {"sample", "score"}
    return stage_of(
        recipe, f"{name}.pair", pair.pair, config, Pairs, inputs, unit="shard", aligned=near
    )


def _train(
    recipe: Recipe, name: str, own: TrainConfig, policy: ModelRef, inputs: dict[str, Stage]
) -> Stage:
    names = [(own.trainer, TRAINERS, "trainer")]
    if own.watch:
        names.append((own.watch.identifier, IDENTIFIERS, "train.watch.identifier"))
    code = code_of(*names)
    config = train.Config(policy=policy, train=own, seed=recipe.seed, code=code)
    return stage_of(recipe, f"{name}.train", train.train, config, Step, inputs)


def _reference(
    recipe: Recipe, name: str, own: TrainConfig, policy: ModelRef, read: dict[str, Stage]
) -> dict[str, Stage]:
    """The reference's log-probabilities of an arm's pairs, for TRL's DPO."""
    if own.method != "dpo" or own.trainer != "trl":
        return {}
    config = reference.Config(
        policy=policy, dtype=own.dtype, whole=own.lora is None, quantized=own.quantized
    )
    more = {"unit": "row", "aside": ("sample",), "aligned": {"pair", "sample"}}
    stage = stage_of(
        recipe, f"{name}.reference", reference.reference, config, References, read, **more
    )
    return {"reference": stage}


def scored(recipe: Recipe, source: Stage, samples: Stage, trained: Stage | None) -> Stage:
    """The rewards of answers; `trained` is the training of the reward model, if it has one."""
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


def sampled(
    recipe: Recipe,
    name: str,
    policy: ModelRef,
    source: Stage,
    sampling: Sampling,
    adapter: Stage | None = None,
) -> Stage:
    """Answers of the policy to prompts, with or without an arm's adapter."""
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


def evaluated(
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
    return sampled(recipe, name, policy, heldout, sampling, adapter)


def benchmarked(
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
