"""Training: the policy tuned on an arm's pairs; the adapter is the stage's files."""

from __future__ import annotations

from collections.abc import Iterable

from croco import training
from croco.errors import StageError
from croco.models import ModelRef
from croco.recipe import Section, TrainConfig
from croco.records import Pairs, Step
from croco.stage import Context
from croco.training import Example


class Config(Section):
    """The policy, how to train, the seed of order and initial adapter, and the trainer's code."""

    policy: ModelRef
    train: TrainConfig
    seed: int
    code: dict[str, str]


def train(config: Config, context: Context) -> list[Step]:
    """The training curve; StageError where there is no pair to train on."""
    examples = examples_of(context.inputs["pair"].rows(), config.train.method)
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


def examples_of(rows: Iterable[Pairs], method: str) -> list[Example]:
    """The stored token ids of all pairs; SFT takes the chosen side alone."""
    return [
        Example(
            pair.prompt_ids,
            pair.chosen.token_ids,
            pair.rejected.token_ids if method == "dpo" else [],
        )
        for row in rows
        for pair in row.pairs
    ]
