"""Rewards in a recipe: what scores answers, and how a reward model is trained in the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from croco import models
from croco.models import ModelRef
from croco.settings import Dtype, Language, Prompted, Section, Share


class RewardLora(Section):
    """LoRA on a reward model: rank, alpha and target modules; the head is trained in full beside it."""

    r: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    targets: Annotated[list[str], Field(min_length=1)] | Literal["all-linear"] = "all-linear"


class RewardTraining(Section):
    """A sequence classifier trained on preference files with the Bradley-Terry loss.

    All but the word embeddings is trained, or the top `layers` layers, or `lora`.
    """

    base: str
    files: list[str] = Field([], description="preference files")
    languages: list[Language] = Field([], description="only preferences in these; none: all")
    epochs: float = Field(1.0, gt=0)
    learning_rate: float = Field(1e-4, gt=0)
    batch_size: int = Field(16, ge=1, description="pairs per optimizer step")
    max_length: int = Field(
        256, ge=8, description="tokens of prompt and answer; pairs with more are left out"
    )
    depth: int | None = Field(None, ge=1, description="the base's first layers only; none: all")
    layers: int | None = Field(
        None, ge=0, description="top layers to train; 0: the head; none: all"
    )
    lora: RewardLora | None = None
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="of passes and of the saved model; what is trained stays in float32"
    )
    without: list[str] = Field([], description="flaws whose pairs are left out")
    seed: int = 42
    _ref: ModelRef | None = None

    @pydantic.model_validator(mode="after")
    def _one_way(self) -> RewardTraining:
        if self.lora and self.layers is not None:
            raise ValueError("give lora or layers, not both: LoRA leaves the base as it is")
        if self.layers == 0 and self.dtype != "float32":
            raise ValueError("a head alone is trained in float32: remove dtype")
        return self

    def bound(self, folder: Path) -> RewardTraining:
        """A copy that knows what its base is; its names say what is meant, not where it lies."""
        ref = models.resolve(self.base, folder)
        copy = self.model_copy(update={"base": f"{ref.name}@{ref.revision}", "files": []})
        copy._ref = ref
        return copy

    @property
    def ref(self) -> ModelRef:
        """The base."""
        return self._ref or models.resolve(self.base, Path())


class Gate(Section):
    """An identifier's share of the asked language; an answer below `threshold` loses `penalty`.

    One whose language cannot be told loses nothing (`croco.spoken`).
    """

    identifier: str = "py3langid"
    threshold: Share = 0.5
    penalty: float = Field(10.0, ge=0)


#: The keys that each kind of reward uses; a class of the user's may use any.
USED = {
    "classifier": ("model", "train", "max_length", "dtype"),
    "vllm": ("model", "train", "max_length", "dtype"),
    "server": ("model", "max_length"),
    "prompt": ("prompt",),
    "pairwise": ("prompt",),
    "function": ("function",),
    "composite": ("parts", "weights", "gate"),
    "language": ("identifier",),
    "fake": (),
}


class RewardConfig(Section):
    """A reward: a sequence classifier (here, in vLLM or on a server), a model that answers a template, a
    Python function, or a composite of rewards behind a gate."""

    kind: str
    model: str | None = None
    train: RewardTraining | None = None
    function: str | None = None
    parts: dict[str, RewardConfig] | None = None
    weights: dict[str, float] | None = None
    gate: Gate | None = None
    identifier: str | None = None
    prompt: Prompted | None = None
    max_length: int = Field(32768, ge=8)
    dtype: Dtype | None = Field(None, description="of the weights; none: as they are stored")
    _ref: ModelRef | None = None

    @pydantic.model_validator(mode="after")
    def _complete(self) -> RewardConfig:
        wanted = {
            "classifier": ("model", "train"),
            "vllm": ("model", "train"),
            "server": ("model",),
            "prompt": ("prompt",),
            "pairwise": ("prompt",),
            "function": ("function",),
            "composite": ("parts",),
            "language": ("identifier",),
        }.get(self.kind, ())
        if wanted and not any(getattr(self, name) for name in wanted):
            raise ValueError(f"a reward of kind {self.kind!r} needs {' or '.join(wanted)}")
        unknown = set(self.weights or ()) - set(self.parts or ())
        if unknown:
            raise ValueError(f"weights names {sorted(unknown)[0]!r}, which is not in parts")
        unused = sorted(self._given() - set(USED.get(self.kind, RewardConfig.model_fields)))
        if unused:
            raise ValueError(
                f"a reward of kind {self.kind!r} does not use {unused[0]!r}: remove it"
            )
        if self.model and self.train:
            raise ValueError("a classifier has a model or is trained, not both: remove one")
        if sum(one.train is not None for one in self.walk()) > 1:
            raise ValueError("only one part of a reward can be trained in a run")
        return self

    def _given(self) -> set[str]:
        """The keys that hold something else than their default."""
        fields = type(self).model_fields
        return {
            n for n in self.model_fields_set - {"kind"} if getattr(self, n) != fields[n].default
        }

    def walk(self) -> Iterator[RewardConfig]:
        """This reward and all the parts below it."""
        yield self
        for part in (self.parts or {}).values():
            yield from part.walk()

    def bound(self, folder: Path) -> RewardConfig:
        """A copy that knows what its models are; its names say what is meant, not where it lies."""
        ref = models.resolve(self.model, folder, adapters=True) if self.model else None
        parts = {name: part.bound(folder) for name, part in (self.parts or {}).items()}
        update = {
            "model": f"{ref.name}@{ref.revision}" if ref else None,
            "train": self.train.bound(folder) if self.train else None,
            "prompt": self.prompt.bound(folder) if self.prompt else None,
            "parts": parts or None,
        }
        copy = self.model_copy(update=update)
        copy._ref = ref
        return copy

    @property
    def ref(self) -> ModelRef:
        """The model."""
        return self._ref or models.resolve(self.model or "", Path(), adapters=True)

    @property
    def training(self) -> RewardTraining | None:
        """How the part that is trained in the run is trained, if there is one."""
        return next((one.train for one in self.walk() if one.train), None)
