"""The recipe: everything a run is made of, checked before anything starts (`recipe_file` reads it).

A section says *what* is computed; only `resources` says *where*, and never enters an identity.
Unknown keys are refused with the nearest known one, so that no option is ever silently ignored.
Defaults are the settings of the CroCo paper (arXiv 2605.26293) where it names them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from croco import models
from croco.calibration import Method
from croco.languages import checked_tag
from croco.models import ModelRef
from croco.strategies import Rule

Language = Annotated[str, pydantic.AfterValidator(checked_tag)]
Share = Annotated[float, Field(ge=0, le=1)]
Dtype = Literal["float32", "bfloat16", "float16"]
StageKind = Literal[
    "prompts", "sample", "reward", "score", "pair", "train", "judge", "audit", "report"
]


class Section(BaseModel):
    """A part of a recipe: frozen, and closed to keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PromptsConfig(Section):
    """Prompt files (JSON Lines with id, lang, prompt); `limit` takes the first ids in sorted order."""

    train: list[str] = Field(min_length=1)
    heldout: list[str] = Field(min_length=1)
    train_limit: int | None = Field(None, ge=1)
    heldout_limit: int | None = Field(None, ge=1)


class Sampling(Section):
    """How answers are sampled. The default is the paper's: 64 samples at temperature 1."""

    engine: str = "transformers"
    n: int = Field(64, ge=1)
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(4096, ge=1)
    dtype: Dtype = "bfloat16"


class RewardTraining(Section):
    """A sequence classifier trained on preference files with the Bradley-Terry loss."""

    base: str
    files: list[str]
    epochs: float = Field(1.0, gt=0)
    learning_rate: float = Field(1e-4, gt=0)
    batch_size: int = Field(16, ge=1)
    max_length: int = Field(256, ge=8)
    depth: int | None = Field(None, ge=1, description="the base's first layers only; none: all")
    layers: int | None = Field(
        None, ge=0, description="top layers to train; 0: the head; none: all"
    )
    without: list[str] = Field([], description="flaws whose pairs are left out")
    seed: int = 42
    _ref: ModelRef | None = None

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
    """An identifier's share of the asked language; an answer below `threshold` loses `penalty`."""

    identifier: str = "py3langid"
    threshold: Share = 0.5
    penalty: float = Field(10.0, ge=0)


#: The keys that each kind of reward uses; a class of the user's may use any.
USED = {
    "classifier": ("model", "train", "max_length"),
    "function": ("function",),
    "composite": ("parts", "weights", "gate"),
    "language": ("identifier",),
    "fake": (),
}


class RewardConfig(Section):
    """A reward: a sequence classifier, a Python function, or a composite of rewards behind a gate."""

    kind: str
    model: str | None = None
    train: RewardTraining | None = None
    function: str | None = None
    parts: dict[str, RewardConfig] | None = None
    weights: dict[str, float] | None = None
    gate: Gate | None = None
    identifier: str | None = None
    max_length: int = Field(32768, ge=8)
    _ref: ModelRef | None = None

    @pydantic.model_validator(mode="after")
    def _complete(self) -> RewardConfig:
        wanted = {
            "classifier": ("model", "train"),
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
        ref = models.resolve(self.model, folder) if self.model else None
        parts = {name: part.bound(folder) for name, part in (self.parts or {}).items()}
        update = {
            "model": f"{ref.name}@{ref.revision}" if ref else None,
            "train": self.train.bound(folder) if self.train else None,
            "parts": parts or None,
        }
        copy = self.model_copy(update=update)
        copy._ref = ref
        return copy

    @property
    def ref(self) -> ModelRef:
        """The model."""
        return self._ref or models.resolve(self.model or "", Path())

    @property
    def training(self) -> RewardTraining | None:
        """How the part that is trained in the run is trained, if there is one."""
        return next((one.train for one in self.walk() if one.train), None)


def _chosen(name: str) -> str:
    Rule.chosen(name)
    return name


def _rejected(name: str) -> str:
    Rule.rejected(name)
    return name


def _off(value: object) -> object:
    """YAML reads a bare `off` as false."""
    return "off" if value is False else value


Treatment = Annotated[Literal["drop", "only-as-rejected", "off"], pydantic.BeforeValidator(_off)]


class Filters(Section):
    """Which responses may not stand on a side of a pair; they still count in the pool's statistics."""

    cut_off: Treatment = "only-as-rejected"
    empty: Treatment = "drop"
    wrong_language: Treatment = "off"
    identifier: str = "py3langid"
    threshold: Share = Field(0.5, description="smallest share of the asked language")
    near_duplicates: float | None = Field(
        None, gt=0, le=1, description="share of 5-character pieces in common; 1: equal texts only"
    )
    min_gap: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="smallest reward gap of a pair"
    )
    max_length_ratio: float | None = Field(
        None,
        ge=1,
        allow_inf_nan=False,
        description="longer over shorter side of a pair, in characters",
    )


class PairConfig(Section):
    """How chosen and rejected are taken from a pool (`croco.selection` has the strategies)."""

    scope: Literal["monolingual", "multilingual"] = "monolingual"
    chosen: Annotated[str, pydantic.AfterValidator(_chosen)] = "max"
    rejected: Annotated[str, pydantic.AfterValidator(_rejected)] = "mean-2std"
    pairs_per_pool: int = Field(1, ge=1)
    prompt_language: Literal["chosen", "rejected", "random"] = "chosen"
    normalise: Method = "none"
    filters: Filters = Filters()

    @pydantic.model_validator(mode="after")
    def _spans_languages(self) -> PairConfig:
        if self.normalise != "none" and self.scope == "monolingual":
            raise ValueError(
                "normalise makes rewards comparable across languages: use it with scope multilingual"
            )
        return self


class Lora(Section):
    """LoRA's rank, alpha, dropout and target modules; the defaults are the paper's."""

    r: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: Share = 0.05
    targets: list[str] = [
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    ]


class TrainConfig(Section):
    """Tuning on pairs by DPO, or by SFT on the chosen responses; learning rates default to the paper's."""

    method: Literal["dpo", "sft"] = "dpo"
    trainer: str = "trl"
    learning_rate: float | None = Field(None, gt=0)
    epochs: float = Field(1.0, gt=0)
    batch_size: int = Field(64, ge=1, description="pairs per optimizer step")
    beta: float = Field(0.1, gt=0)
    lora: Lora = Lora()
    warmup_share: Share = 0.05
    schedule: str = "cosine"
    weight_decay: float = Field(0.01, ge=0)
    max_length: int = Field(4096, ge=8)
    dtype: Dtype = "bfloat16"

    @property
    def rate(self) -> float:
        """The learning rate, by default 5e-6 for DPO and 2e-4 for SFT (the paper's)."""
        return self.learning_rate or (5e-6 if self.method == "dpo" else 2e-4)


class Arm(Section):
    """A variant of the run: its pairs and its training; all else is shared with the other arms."""

    pair: PairConfig = PairConfig()
    train: TrainConfig = TrainConfig()


class Evaluation(Section):
    """Held-out samples per prompt, the judge (a reward that was not trained on), and an identifier."""

    n: int = Field(8, ge=1)
    judge: RewardConfig
    tie: float = Field(0.0, ge=0, description="scores closer than this are a tie")
    identifier: str = "heliport"
    audit: list[str] = []

    @pydantic.field_validator("judge")
    @classmethod
    def _not_trained(cls, judge: RewardConfig) -> RewardConfig:
        if judge.training:
            raise ValueError("a judge is not trained in the run: name a model, function or part")
        return judge


class Resources(Section):
    """Where a stage runs: never part of an identity."""

    batch_size: int = Field(16, ge=1, description="rows handed to an engine at a time")
    device: str = "auto"
    threads: int | None = Field(None, ge=1)
    micro_batch: int = Field(8, ge=1, description="pairs per forward pass in training")


class Recipe(Section):
    """A run: one policy, its prompts, sampling and reward, and the arms that are compared."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = 42
    languages: list[Language] = Field(min_length=1)
    policy: str
    shards: int = Field(1, ge=1)
    allow_failed: Share = 0.0
    prompts: PromptsConfig
    sample: Sampling = Sampling()
    reward: RewardConfig
    arms: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$")], Arm] = Field(
        min_length=1
    )
    evaluate: Evaluation
    resources: dict[StageKind, Resources] = {}
    folder: Path = Field(Path(), exclude=True, description="what relative paths start from")

    @pydantic.field_validator("arms")
    @classmethod
    def _not_base(cls, arms: dict[str, Arm]) -> dict[str, Arm]:
        if "base" in arms:
            raise ValueError("no arm may be called 'base': that is the untuned policy")
        return arms

    @pydantic.model_validator(mode="after")
    def _other_judge(self) -> Recipe:
        if self.evaluate.judge == self.reward:
            raise ValueError("evaluate.judge is the reward itself: judge by another one")
        return self
