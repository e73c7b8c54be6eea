"""The recipe: everything a run is made of, checked before anything starts (`recipe_file` reads it).

Its sections stand here and in `settings`, `reward_settings`, `training_settings` and the like. Defaults
are the settings of the CroCo paper (arXiv 2605.26293) where it names them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from croco.arm_settings import OffPolicy, Online, Rounds
from croco.calibration import Method
from croco.evaluation_settings import Evaluation
from croco.executor_settings import ExecutorSettings
from croco.reward_settings import RewardConfig
from croco.settings import (
    Language,
    Reasoning,
    Resources,
    Sampling,
    Section,
    Share,
    Translate,
    refuse_unused,
)
from croco.strategies import Rule
from croco.training_settings import TrainConfig

StageKind = Literal[
    "answers",
    "prompts",
    "translate",
    "contamination",
    "sample",
    "reward",
    "score",
    "pair",
    "encode",
    "reference",
    "train",
    "language",
    "judge",
    "audit",
    "benchmark",
    "sentences",
    "loss",
    "report",
]


#: What a run may be called: it is a folder's name.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class PromptsConfig(Section):
    """Prompt files (JSON Lines or Parquet with id, lang, prompt), folders with one folder per language, or
    hub data sets (`hub:owner/name@commit`); `limit` takes the first ids in sorted order."""

    train: list[str] = Field(min_length=1)
    heldout: list[str] = Field(min_length=1)
    train_limit: int | None = Field(None, ge=1)
    heldout_limit: int | None = Field(None, ge=1)
    repair_escapes: bool = Field(
        True, description="take back HTML escapes that a translation has and its original has not"
    )


def _chosen(name: str) -> str:
    Rule.chosen(name)
    return name


def _rejected(name: str) -> str:
    Rule.rejected(name)
    return name


def _off(value: object) -> object:
    """`off` in any writing; YAML 1.1 has it as false."""
    off = value is False or (isinstance(value, str) and value.lower() == "off")
    return "off" if off else value


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

    @pydantic.model_validator(mode="after")
    def _of_languages(self) -> Filters:
        if self.wrong_language == "off":
            refuse_unused(self, ["threshold"], "has no meaning where wrong_language is off")
        return self


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
        if self.scope == "monolingual":
            why = "has no meaning where a pool has one language: use scope multilingual"
            refuse_unused(self, ["prompt_language"], why)
        return self


class Arm(Section):
    """A variant of the run: its pairs and its training; all else is shared with the other arms.

    Pairs are made of the policy's own answers before training, but where `responses`, `rounds` or `online`
    says otherwise.
    """

    pair: PairConfig = PairConfig()
    train: TrainConfig = TrainConfig()
    after: str | None = Field(
        None, description="an arm above, whose tuned policy is tuned further and is the reference"
    )
    responses: OffPolicy | None = Field(None, description="answers by another model")
    rounds: Rounds | None = Field(None, description="training again on the tuned policy's answers")
    online: Online | None = Field(None, description="answers sampled during training")

    @pydantic.model_validator(mode="after")
    def _of_one_kind(self) -> Arm:
        own = ("responses", "rounds", "online")
        given = [name for name in own if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{given[0]} and {given[1]} cannot be combined: remove one")
        known = self.train.trainer in ("trl", "fake")
        dpo = self.train.method == "dpo"
        if self.rounds and dpo and self.rounds.reference != "moved" and not known:
            raise ValueError(
                "rounds.reference: fixed is for the trainer 'trl', which is given the reference's"
                " log-probabilities: set it to moved"
            )
        if self.rounds and not dpo and self.rounds.reference:
            raise ValueError("rounds.reference: SFT has no reference: remove it")
        if self.online and (self.train.trainer, self.train.method) != ("trl", "dpo"):
            raise ValueError("online is for train.trainer 'trl' and train.method 'dpo': set these")
        if self.online and self.train.heldout_share:
            raise ValueError(
                "train.heldout_share is of pairs that are known before training, and online has none:"
                " remove it"
            )
        return self


class RewardFile(Section):
    """A reward alone, as `croco audit` takes it, and where it runs."""

    reward: RewardConfig
    resources: dict[StageKind, Resources] = {}


class Recipe(Section):
    """A run: one policy, its prompts, sampling and reward, and the arms that are compared."""

    name: str = Field(pattern=NAME)
    seed: int = 42
    languages: list[Language] = Field(min_length=1)
    policy: str
    shards: int = Field(1, ge=1)
    allow_failed: Share = 0.0
    prompts: PromptsConfig
    translate: Translate | None = None
    sample: Sampling = Sampling()
    reward: RewardConfig
    arms: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$")], Arm] = Field(
        min_length=1
    )
    evaluate: Evaluation
    resources: dict[StageKind, Resources] = {}
    executor: ExecutorSettings = ExecutorSettings()
    folder: Path = Field(Path(), exclude=True, description="what relative paths start from")

    @pydantic.field_validator("arms")
    @classmethod
    def _not_base(cls, arms: dict[str, Arm]) -> dict[str, Arm]:
        if "base" in arms:
            raise ValueError("no arm may be called 'base': that is the untuned policy")
        above: list[str] = []
        for name, arm in arms.items():
            if arm.after is not None and arm.after not in above:
                raise ValueError(f"{name}.after: {arm.after!r} is no arm above {name!r}: name one")
            above.append(name)
        return arms

    @pydantic.model_validator(mode="after")
    def _other_judge(self) -> Recipe:
        if self.evaluate.judge == self.reward:
            raise ValueError("evaluate.judge is the reward itself: judge by another one")
        return self

    @pydantic.model_validator(mode="after")
    def _untrained(self) -> Recipe:
        both = [lang for lang in self.evaluate.languages if lang in self.languages]
        if both:
            raise ValueError(
                f"evaluate.languages: {both[0]!r} is trained and so evaluated anyway: name only"
                " languages that are not in 'languages'"
            )
        return self


class Sides(Section):
    """Files of two sides' answers: how often does `tuned` beat `base`? `prompts` are files of prompts."""

    base: list[str] = Field(min_length=1)
    tuned: list[str] = Field(min_length=1)
    prompts: list[str] = []
    reasoning: Reasoning = Field(
        None, description="pairs of texts that open and close reasoning in the answers"
    )


#: What `evaluate` has for runs alone.
OF_RUNS = ("n", "engine", "audit", "benchmark", "languages", "sentences", "sentences_limit")


class Comparison(Section):
    """A run that samples and tunes nothing: answers which exist are judged."""

    name: str = Field(pattern=NAME)
    seed: int = 42
    languages: list[Language] = Field([], description="none: all that both sides have")
    compare: Sides
    evaluate: Evaluation
    shards: int = Field(1, ge=1)
    allow_failed: Share = 0.0
    resources: dict[StageKind, Resources] = {}
    executor: ExecutorSettings = ExecutorSettings()
    folder: Path = Field(Path(), exclude=True, description="what relative paths start from")

    @pydantic.model_validator(mode="after")
    def _of_answers(self) -> Comparison:
        why = "is for runs that sample answers, and a comparison has them"
        refuse_unused(self.evaluate, OF_RUNS, why)
        return self


AnyRecipe = Recipe | Comparison
