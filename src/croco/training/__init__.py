"""Trainers tune a policy on examples of token ids; a stage knows only the protocol and `load`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from croco.arm_settings import Online
from croco.models import ModelRef
from croco.plugins import load_class
from croco.recipe import PairConfig
from croco.records import Prompt, Step
from croco.reward_settings import RewardConfig
from croco.settings import Resources, Sampling
from croco.stage import Progress
from croco.training_settings import TrainConfig

if TYPE_CHECKING:
    from croco.training.standalone import train_dpo as train_dpo

TRAINERS = {
    "fake": "croco.training.fake:train",
    "trl": "croco.training.preference:train",
}

#: Trainers whose examples are sampled during training.
ONLINE = {"trl": "croco.training.online:train"}


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids to tune on, as they were sampled; `rejected_ids` is empty for SFT.

    `reference` holds the log-probabilities, in nats, of the chosen and the rejected response (as far as
    training reads them) under the reference model, where they are known. `id` and `lang` are the prompt's.
    """

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    id: str = ""
    lang: str = ""
    reference: tuple[float, float] | None = None

    @property
    def sides(self) -> list[list[int]]:
        """The responses: chosen, and rejected where there is one."""
        return [self.chosen_ids, self.rejected_ids] if self.rejected_ids else [self.chosen_ids]

    @property
    def tokens(self) -> int:
        """The tokens that a forward pass reads."""
        return sum(len(self.prompt_ids) + len(side) for side in self.sides)


#: An example that is not trained on: the prompt's id and language, and the reason.
LeftOut = tuple[str, str, str]


@dataclass(frozen=True)
class Job:
    """What there is to train: how, on which policy, on what, and what is only watched.

    `start` is the folder of a tuned policy (an adapter, or a whole model) that training goes on from;
    it is the reference as well, where no example says what that gives it. `dropped` was left out before.
    """

    config: TrainConfig
    policy: ModelRef
    examples: Sequence[Example]
    heldout: Sequence[Example] = ()
    start: Path | None = None
    seed: int = 42
    dropped: Sequence[LeftOut] = ()


@dataclass(frozen=True)
class OnlineJob:
    """Training whose examples are sampled on the way: `job` has none of its own.

    `trained` is the folder of a reward model trained in the run. `sampled` and `scored` say how answers are
    sampled and scored: of the first, `batch_size` alone has a meaning.
    """

    job: Job
    prompts: Sequence[Prompt]
    online: Online
    sampling: Sampling
    pair: PairConfig
    reward: RewardConfig
    trained: Path | None = None
    sampled: Resources = field(default_factory=Resources)
    scored: Resources = field(default_factory=Resources)


@dataclass(frozen=True)
class Place:
    """Where a trainer works: `out` takes what it made, `work` outlives a kill and holds checkpoints."""

    out: Path
    work: Path
    resources: Resources = field(default_factory=Resources)
    progress: Progress = lambda done, total, text: None


class Trainer(Protocol):
    """Tunes a policy: writes an adapter (safetensors, PEFT layout) or a model, with its tokenizer."""

    def __call__(self, job: Job, place: Place) -> list[Step]:
        """The training curve, one row per optimizer step."""
        ...


class OnlineTrainer(Protocol):
    """As a trainer does; and keeps what it sampled in the folder `online` (`croco.kept`)."""

    def __call__(self, job: OnlineJob, place: Place) -> list[Step]:
        """The training curve, one row per optimizer step."""
        ...


def load(name: str) -> Trainer:
    """The trainer of that name, or a `module:function` of the user's."""
    trainer: Trainer = load_class(name, TRAINERS, "trainer")
    return trainer


def load_online(name: str) -> OnlineTrainer:
    """The trainer of that name that samples during training."""
    trainer: OnlineTrainer = load_class(name, ONLINE, "trainer")
    return trainer


def __getattr__(name: str) -> Any:
    if name == "train_dpo":  # only who asks for it loads what it needs
        from croco.training.standalone import train_dpo

        return train_dpo
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
