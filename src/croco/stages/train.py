"""Training: the policy tuned on an arm's pairs; the adapter, or the model, is the stage's files."""

from __future__ import annotations

from croco import training
from croco.errors import StageError
from croco.examples import examples_of, is_held_out, refuse_foreign, trained_on
from croco.models import ModelRef
from croco.records import Step
from croco.settings import Section
from croco.stage import Context
from croco.training import Job, Place
from croco.training_settings import TrainConfig


class Config(Section):
    """The policy, how to train, the seed of order and initial adapter, and the trainer's code."""

    policy: ModelRef
    train: TrainConfig
    seed: int
    code: dict[str, str]


def train(config: Config, context: Context) -> list[Step]:
    """The training curve; StageError where there is no pair to train on.

    The files of the input "start", where there is one, are the tuned policy that training goes on from.
    """
    inputs, share = context.inputs, config.train.heldout_share
    every = examples_of(
        inputs["pair"], inputs["sample"], inputs.get("reference"), config.train.method
    )
    held = {one.id: is_held_out(one.id, share, config.seed) for one in every}
    examples = [one for one in every if not held[one.id]]
    if not examples:
        lacking = "a pair" if config.train.method == "dpo" else "an answer that may be chosen"
        raise StageError(
            f"no pool gave {lacking}, so there is nothing to train on: look at the rewards with"
            " 'croco show', and sample more answers or another reward"
        )
    if config.train.trainer == "trl" and "reference" not in inputs:  # else it was looked at there
        rows = inputs["pair"].rows()
        pairs = (pair for row in rows for pair in trained_on(row, config.train.method))
        refuse_foreign(config.policy, pairs, every)
    start = inputs["start"].files if "start" in inputs else None
    heldout = [one for one in every if held[one.id]]
    job = Job(config.train, config.policy, examples, heldout, start, config.seed)
    place = Place(context.files, context.work, context.resources, context.progress)
    return training.load(config.train.trainer)(job, place)
