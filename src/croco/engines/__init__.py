"""Engines generate text; a stage knows only the protocol and `load`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from croco.models import ModelRef
from croco.plugins import load_class
from croco.recipe import Resources, Sampling
from croco.records import Completion

Chat = list[dict[str, str]]

ENGINES = {
    "fake": "croco.engines.fake:FakeEngine",
    "transformers": "croco.engines.transformers:TransformersEngine",
}


class Generator(Protocol):
    """Samples answers; built as `Engine(policy, sampling, resources, adapter=None)`."""

    context_length: int

    def encode(self, chat: Chat) -> list[int]:
        """The token ids of a chat up to the model's turn, with exactly one BOS where the model has one."""
        ...

    def generate(
        self, prompts: Sequence[list[int]], seeds: Sequence[Sequence[int]]
    ) -> list[list[Completion]]:
        """One completion per seed for each prompt (token ids); equal seeds give equal answers."""
        ...


def load(
    name: str,
    policy: ModelRef,
    sampling: Sampling,
    resources: Resources,
    adapter: Path | None = None,
) -> Generator:
    """The engine of that name, or of a `module:Class` of the user's, with its model ready."""
    engine: Generator = load_class(name, ENGINES, "engine")(policy, sampling, resources, adapter)
    return engine
