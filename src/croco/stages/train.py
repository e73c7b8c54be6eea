"""Training: the policy tuned on an arm's pairs; the adapter, or the model, is the stage's files."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from croco import training
from croco.errors import StageError
from croco.examples import is_held_out, refuse_foreign_ids, taken_of
from croco.models import ModelRef
from croco.pairing import reasons
from croco.records import Step
from croco.settings import Section
from croco.stage import Context, Sealed
from croco.training import Job, LeftOut, Place
from croco.training_settings import TrainConfig

log = logging.getLogger("croco")


class Config(Section):
    """The policy, how to train, the seed of order and initial adapter, and the trainer's code."""

    policy: ModelRef
    train: TrainConfig
    seed: int
    code: dict[str, str]


def train(config: Config, context: Context) -> list[Step]:
    """The training curve; StageError where there is no pair to train on.

    The files of the input "start", where there is one, are the tuned policy that training goes on from.
    What is left out since a row of encoding or of the reference failed is told, and counted by the trainer.
    """
    inputs, method = context.inputs, config.train.method
    taken = taken_of(inputs["pair"], inputs["sample"], inputs.get("reference"), method)
    every = [one.example for one in taken if one.example]
    dropped = [one.left_out for one in taken if not one.example]
    held = {one.id: is_held_out(one.id, config.train.heldout_share, config.seed) for one in every}
    examples = [one for one in every if not held[one.id]]
    _tell(dropped, len(taken))
    if not examples:
        raise StageError(_nothing(inputs, config.train, bool(every), dropped))
    if config.train.trainer == "trl" and "reference" not in inputs:  # else it was looked at there
        refuse_foreign_ids(config.policy, taken)
    start = inputs["start"].files if "start" in inputs else None
    heldout = [one for one in every if held[one.id]]
    job = Job(config.train, config.policy, examples, heldout, start, config.seed, dropped)
    place = Place(context.files, context.work, context.resources, context.progress)
    return training.load(config.train.trainer)(job, place)


def _tell(dropped: Sequence[LeftOut], count: int) -> None:
    for reason, number in Counter(one[2] for one in dropped).items():
        log.warning("training: %d of %d examples are left out: %s", number, count, reason)


def _nothing(
    inputs: Mapping[str, Sealed], config: TrainConfig, held_out: bool, dropped: Sequence[LeftOut]
) -> str:
    """Why there is nothing to train on, with the reasons of the pools, counted."""
    if dropped and not held_out:
        return f"all examples are left out ({dropped[0][2]}), so there is nothing to train on"
    if held_out:
        return (
            "every pair's prompt is held out, so there is nothing to train on: lower"
            " train.heldout_share, or take more prompts"
        )
    sft = config.method == "sft"
    count = reasons.of_sealed(inputs["pair"], sft)
    words = reasons.Words(max_tokens=_longest(inputs["sample"]))
    lacking = "an answer that may be chosen" if sft else "a pair"
    why = count.words(words) or "there is no pool: look at what failed before"
    return f"no pool gave {lacking}, so there is nothing to train on: {why}"


def _longest(samples: Sealed) -> int | None:
    """The tokens of the longest of the first answers: the limit, where all were cut off."""
    for batch in samples.batches(0, ("token_ids",)):
        longest = max(
            (len(ids) for row in batch["token_ids"].to_pylist() for ids in row), default=0
        )
        return longest or None
    return None
