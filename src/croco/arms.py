"""The stages that arms are made of: answers, rewards, pairs, training, and answers of what was tuned."""

from __future__ import annotations

from dataclasses import dataclass

from croco.building import code_of, engines_of, names_of, stage_of
from croco.engines import ENGINES
from croco.errors import RecipeError
from croco.euroeval import sets_for
from croco.languages import IDENTIFIERS
from croco.models import ModelRef
from croco.recipe import PairConfig, Recipe
from croco.records import Benchmarked, Pairs, References, Responses, Rewards, Step
from croco.settings import Sampling
from croco.stage import Stage
from croco.stages import benchmark, pair, reference, sample, score, train
from croco.training import TRAINERS
from croco.training_settings import TrainConfig


@dataclass(frozen=True)
class Shared:
    """What arms have in common: the policy, training prompts, its answers to them and their rewards (of
    which `reward` is the training, if it has one), and its answers to held-out prompts."""

    policy: ModelRef
    training: Stage
    samples: Stage
    scores: Stage
    reward: Stage | None
    heldout: Stage
    base: Stage


def paired(
    recipe: Recipe, name: str, config: PairConfig, samples: Stage, scores: Stage, seed: int
) -> Stage:
    """The pairs of some answers."""
    identifier = (config.filters.identifier, IDENTIFIERS, "pair.filters.identifier")
    own = pair.Config(pair=config, seed=seed, code=code_of(identifier))
    inputs = {"score": scores, "sample": samples}
    # Calibration reads the rewards of all shards.
    near = {"sample"} if config.normalise != "none" else {"sample", "score"}
    return stage_of(recipe, name, pair.pair, own, Pairs, inputs, unit="shard", aligned=near)


def trained(
    recipe: Recipe, name: str, own: TrainConfig, policy: ModelRef, inputs: dict[str, Stage]
) -> Stage:
    """The training on pairs; of `inputs`, "start" is the training whose policy it goes on from."""
    names = [(own.trainer, TRAINERS, "trainer")]
    if own.watch:
        names.append((own.watch.identifier, IDENTIFIERS, "train.watch.identifier"))
    code = code_of(*names)
    config = train.Config(policy=policy, train=own, seed=recipe.seed, code=code)
    return stage_of(recipe, name, train.train, config, Step, inputs)


def referred(
    recipe: Recipe, name: str, own: TrainConfig, policy: ModelRef, read: dict[str, Stage]
) -> dict[str, Stage]:
    """The reference's log-probabilities of pairs, for TRL's DPO; "start" is the training whose policy is
    the reference, if it is a tuned one."""
    if own.method != "dpo" or own.trainer != "trl":
        return {}
    config = reference.Config(
        policy=policy,
        dtype=own.dtype,
        whole=own.lora is None,
        quantized=own.quantized,
        max_length=own.max_length,
    )
    stage = stage_of(
        recipe,
        name,
        reference.reference,
        config,
        References,
        read,
        unit="row",
        aside=("sample",),
        aligned={"pair", "sample"},
    )
    return {"reference": stage}


def scored(
    recipe: Recipe, source: Stage, samples: Stage, trained: Stage | None, name: str = "score"
) -> Stage:
    """The rewards of answers; `trained` is the training of the reward model, if it has one."""
    reward = recipe.reward
    config = score.Config(reward=reward.bound(recipe.folder), code=code_of(*names_of(reward)))
    inputs = {"sample": samples, "prompts": source} | ({"reward": trained} if trained else {})
    return stage_of(
        recipe,
        name,
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
    seed: int | None = None,
) -> Stage:
    """Answers of the policy to prompts, with or without an arm's adapter; by default the recipe's seed."""
    code = code_of((sampling.engine, ENGINES, "sample.engine"))
    own = recipe.seed if seed is None else seed
    config = sample.Config(policy=policy, sampling=sampling, seed=own, code=code)
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
