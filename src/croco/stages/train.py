"""Training: the policy tuned on an arm's pairs; the adapter is the stage's files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from croco import training
from croco.errors import StageError
from croco.models import ModelRef
from croco.recipe import TrainConfig
from croco.records import Key, Step
from croco.settings import Section
from croco.stage import Context, Sealed
from croco.training import Example


class Config(Section):
    """The policy, how to train, the seed of order and initial adapter, and the trainer's code."""

    policy: ModelRef
    train: TrainConfig
    seed: int
    code: dict[str, str]


def train(config: Config, context: Context) -> list[Step]:
    """The training curve; StageError where there is no pair to train on."""
    examples = examples_of(context.inputs["pair"], context.inputs["sample"], config.train.method)
    if not examples:
        raise StageError(
            "no pool gave a pair, so there is nothing to train on: look at the rewards with"
            " 'croco show', and sample more answers or another reward"
        )
    trainer = training.load(config.train.trainer)
    return trainer(
        config.train,
        examples,
        config.policy,
        context.files,
        config.seed,
        context.resources,
        context.progress,
    )


def examples_of(pairs: Sealed, samples: Sealed, method: str) -> list[Example]:
    """The sampled token ids of all pairs; SFT takes the chosen side alone."""
    return [
        example
        for shard in range(samples.shards)
        for example in _shard_examples(pairs, samples, shard, method)
    ]


def _shard_examples(pairs: Sealed, samples: Sealed, shard: int, method: str) -> list[Example]:
    made = [(row.id, pair) for row in pairs.read(shard) for pair in row.pairs]
    wanted: defaultdict[Key, set[int]] = defaultdict(set)
    for id, pair in made:
        for side in (pair.chosen, pair.rejected):
            wanted[id, side.lang].add(side.index)
    prompts, answers = _token_ids(samples, shard, wanted)
    return [
        Example(
            prompts[id, pair.prompt_lang],
            answers[id, pair.chosen.lang, pair.chosen.index],
            answers[id, pair.rejected.lang, pair.rejected.index] if method == "dpo" else [],
        )
        for id, pair in made
    ]


def _token_ids(
    samples: Sealed, shard: int, wanted: Mapping[Key, set[int]]
) -> tuple[dict[Key, list[int]], dict[tuple[str, str, int], list[int]]]:
    """The token ids of some prompts and of some answers to them; the others' are passed over."""
    prompts: dict[Key, list[int]] = {}
    answers: dict[tuple[str, str, int], list[int]] = {}
    for batch in samples.batches(shard, ("id", "lang", "prompt_ids", "token_ids")):
        keys = zip(batch["id"].to_pylist(), batch["lang"].to_pylist(), strict=True)
        for place, key in enumerate(keys):
            if key in wanted:
                prompts[key] = batch["prompt_ids"][place].as_py()
                own = batch["token_ids"][place].values
                answers |= {(*key, k): own[k].as_py() for k in wanted[key]}
    return prompts, answers
