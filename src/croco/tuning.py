"""How an arm's policy is tuned: on answers that exist, in rounds of its own answers, or online."""

from __future__ import annotations

from croco import models
from croco.arm_settings import OffPolicy, Online
from croco.arms import (
    Shared,
    benchmarked,
    evaluated,
    paired,
    referred,
    sampled,
    scored,
    trained,
)
from croco.building import asked_of, code_of, engines_of, names_of, stage_of
from croco.errors import RecipeError
from croco.evaluating import judged, spoken
from croco.languages import IDENTIFIERS
from croco.recipe import Recipe
from croco.records import Encoded, Step
from croco.rounds import named
from croco.settings import Resources
from croco.stage import Stage, seed_of
from croco.stages import encode, online


def stages_of(recipe: Recipe, name: str, shared: Shared, start: Stage | None) -> list[Stage]:
    """An arm's stages; `start` is the training whose policy this one goes on from, if it does."""
    policy = shared.policy
    arm = recipe.arms[name]
    if arm.online:
        made = [_online(recipe, name, arm.online, shared, start)]
    elif arm.responses:
        made = _off_policy(recipe, name, arm.responses, shared, start)
    else:
        made = _in_rounds(recipe, name, shared, start)
    tuned = made[-1]
    answers = evaluated(recipe, f"{name}.sample", policy, shared.heldout, tuned)
    return [
        *made,
        answers,
        spoken(recipe, name, answers),
        judged(recipe, name, shared.heldout, shared.base, answers),
        *benchmarked(recipe, name, policy, tuned),
    ]


def _in_rounds(recipe: Recipe, name: str, shared: Shared, start: Stage | None) -> list[Stage]:
    """An arm without rounds is one round: it trains on the answers that arms share."""
    rounds, samples, scores = recipe.arms[name].rounds, shared.samples, shared.scores
    made: list[Stage] = []
    last, anchor, seed = start, start, recipe.seed
    for number, (_, suffix) in enumerate(named(name, recipe.arms[name]), 1):
        if number > 1:
            seed = seed_of(recipe.seed, "round", number)
            samples = _sampled_again(recipe, f"{name}.sample{suffix}", shared, last, seed)
            scores = scored(
                recipe, shared.training, samples, shared.reward, f"{name}.score{suffix}"
            )
            made += [samples, scores]
        moved = rounds is not None and rounds.reference == "moved"
        own = recipe.arms[name].pair
        pairs = paired(recipe, f"{name}.pair{suffix}", own, samples, scores, seed)
        reference = last if moved else anchor
        made += [pairs, *_trained(recipe, name, suffix, shared, (pairs, samples), last, reference)]
        last = made[-1]
    return made


def _sampled_again(
    recipe: Recipe, name: str, shared: Shared, tuned: Stage | None, seed: int
) -> Stage:
    """Answers to the training prompts by what the last round tuned."""
    if recipe.sample.engine == "openai":
        raise RecipeError(
            "sample.engine: a server cannot take the adapters that rounds tune: sample by transformers or"
            " vllm, or remove rounds"
        )
    return sampled(recipe, name, shared.policy, shared.training, recipe.sample, tuned, seed)


def _off_policy(
    recipe: Recipe, name: str, responses: OffPolicy, shared: Shared, start: Stage | None
) -> list[Stage]:
    """Another model answers, and what stands in a pair is encoded by the policy's tokenizer."""
    sampling = responses.sample or recipe.sample
    served = sampling.engine == "openai"
    writer = models.resolve(responses.policy, recipe.folder, served=served)
    samples = sampled(recipe, f"{name}.sample-train", writer, shared.training, sampling)
    scores = scored(recipe, shared.training, samples, shared.reward, f"{name}.score")
    pairs = paired(recipe, f"{name}.pair", recipe.arms[name].pair, samples, scores, recipe.seed)
    ids, encoded = samples, []
    if writer != shared.policy and shared.policy.name != "fake":
        config = encode.Config(
            policy=shared.policy,
            chat_template_kwargs=recipe.sample.chat_template_kwargs,
            reasoning=sampling.reasoning,
        )
        inputs = {"sample": samples, "prompts": shared.training, "pair": pairs}
        ids = stage_of(
            recipe,
            f"{name}.encode",
            encode.encode,
            config,
            Encoded,
            inputs,
            unit="row",
            aside=("pair",),
        )
        encoded = [ids]
    training = _trained(recipe, name, "", shared, (pairs, ids), start, start)
    return [samples, scores, pairs, *encoded, *training]


def _online(recipe: Recipe, name: str, own: Online, shared: Shared, start: Stage | None) -> Stage:
    """A training that samples, scores and pairs on the way."""
    arm, reward, places = recipe.arms[name], recipe.reward, recipe.resources
    where = places.get("train", Resources())
    if where.processes > 1 or where.accelerate:
        raise RecipeError(
            f"arms.{name}.online trains in one process: take processes and accelerate out of"
            " resources.train"
        )
    scoring = places.get("score", Resources())
    served = {"openai", "server"} & set(engines_of(reward))
    if served and scoring.server is None:
        raise RecipeError(
            "the reward needs a server: give its address in resources.score.server.url"
        )
    n = own.n or recipe.sample.n
    update = {"n": n, "engine": "transformers", "extra": None}
    identifier = (arm.pair.filters.identifier, IDENTIFIERS, "pair.filters.identifier")
    config = online.Config(
        policy=shared.policy,
        train=arm.train,
        online=own.model_copy(update={"n": n}),
        sampling=recipe.sample.model_copy(update=update),
        pair=arm.pair,
        reward=reward.bound(recipe.folder),
        seed=recipe.seed,
        code=code_of(identifier, *names_of(reward)),
        sampled=places.get("sample", Resources()),
        scored=scoring,
    )
    inputs = {"prompts": shared.training}
    inputs |= {"reward": shared.reward} if shared.reward else {}
    inputs |= {"start": start} if start else {}
    deciding = asked_of(scoring) if served else {}
    return stage_of(recipe, f"{name}.train", online.online, config, Step, inputs, deciding=deciding)


def _trained(
    recipe: Recipe,
    name: str,
    suffix: str,
    shared: Shared,
    read: tuple[Stage, Stage],
    start: Stage | None,
    reference: Stage | None,
) -> list[Stage]:
    """The reference's log-probabilities, where DPO needs them, and the training on pairs and token ids.

    `start` is the training that is gone on from, `reference` that whose policy is the reference.
    """
    own, policy = recipe.arms[name].train, shared.policy
    pairs_and_ids = dict(zip(("pair", "sample"), read, strict=True))
    known = pairs_and_ids | ({"start": reference} if reference else {})
    references = referred(recipe, f"{name}.reference{suffix}", own, policy, known)
    inputs = pairs_and_ids | ({"start": start} if start else {}) | references
    return [*references.values(), trained(recipe, f"{name}.train{suffix}", own, policy, inputs)]
