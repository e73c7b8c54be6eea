"""Trainings of too few optimizer steps to learn much, told before anything is spent."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from croco.checks.findings import Finding, Subject
from croco.errors import CrocoError
from croco.promptcount import ids_in, prompts_in
from croco.stage import Stage
from croco.training.schedule import few, steps_of


def check(subject: Subject) -> Iterator[Finding]:
    """A warning for each training that cannot have as many optimizer steps as it should.

    The prompts are counted, not what becomes of them: of a training whose pools give few pairs the report
    tells. Nothing is said where the prompts are on a hub.
    """
    seen = set()
    for stage in subject.pending.values():
        if stage.kind == "train" and stage.identity not in seen:
            seen.add(stage.identity)
            steps = most_steps(stage)
            if steps is not None and (remark := few(steps)):
                yield Finding("warning", f"stage {stage.name!r}", f"at most {remark}")


def most_steps(stage: Stage) -> int | None:
    """The most optimizer steps that a training can have; None where nobody can tell."""
    own: Any = stage.config
    train, paired = own.train, stage.inputs.get("pair")
    pair = paired.config.pair if paired else own.pair  # type: ignore[attr-defined]
    pools = _pools(stage, pair.scope)
    if pools is None:
        return None
    if paired is None:  # its steps take pools: pairs are sampled during training
        size = max(1, train.batch_size // pair.pairs_per_pool)
        return steps_of(math.ceil(pools), size, train.epochs)
    each = 1 if train.method == "sft" else pair.pairs_per_pool
    examples = pools * each * (1 - train.heldout_share)
    return steps_of(math.ceil(examples), train.batch_size, train.epochs)


def _pools(stage: Stage, scope: str) -> float | None:
    """About how many pools there are: of each prompt, or of each id in all languages."""
    prompts: Any = _prompts(stage)
    counted = prompts_in if scope == "monolingual" else ids_in
    try:
        return counted(prompts.files, prompts.languages, prompts.limit, prompts.source)
    except (CrocoError, OSError, ValueError, KeyError):  # the files' own check says what is wrong
        return None


def _prompts(stage: Stage) -> Any:
    """What is read of the training prompts, the first stage of all that training builds on."""
    while stage.kind != "prompts":
        by_kind = {one.kind: one for one in stage.inputs.values()}
        kinds = ("pair", "sample", "translate", "prompts")
        stage = next(by_kind[kind] for kind in kinds if kind in by_kind)
    return stage.config
