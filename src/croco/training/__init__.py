"""Trainers tune a policy on examples of token ids; a stage knows only the protocol and `load`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from croco.models import ModelRef
from croco.plugins import load_class
from croco.recipe import TrainConfig
from croco.records import Step
from croco.settings import Resources
from croco.stage import Progress

TRAINERS = {
    "fake": "croco.training.fake:train",
    "trl": "croco.training.preference:train",
}


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids to tune on, as they were sampled; `rejected_ids` is empty for SFT."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]


class Trainer(Protocol):
    """Tunes `policy` and writes the adapter (safetensors, PEFT layout) with its tokenizer to `out`."""

    def __call__(
        self,
        config: TrainConfig,
        examples: Sequence[Example],
        policy: ModelRef,
        out: Path,
        seed: int,
        resources: Resources,
        progress: Progress,
    ) -> list[Step]:
        """The training curve, one row per optimizer step."""
        ...


def load(name: str) -> Trainer:
    """The trainer of that name, or a `module:function` of the user's."""
    trainer: Trainer = load_class(name, TRAINERS, "trainer")
    return trainer
