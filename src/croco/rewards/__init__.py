"""Rewards score answers; a stage knows only the protocol and `load`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from croco import templates
from croco.errors import EngineError
from croco.keeping import keep
from croco.plugins import load_class
from croco.records import Candidate, Key, Rewards
from croco.reward_settings import RewardConfig
from croco.settings import Resources

SCORERS = {
    "classifier": "croco.rewards.classifier:Classifier",
    "vllm": "croco.rewards.vllm:VllmClassifier",
    "server": "croco.rewards.server:ServerClassifier",
    "prompt": "croco.rewards.prompted:PromptedJudge",
    "function": "croco.rewards.function:Function",
    "composite": "croco.rewards.composite:Composite",
    "language": "croco.rewards.language:LanguageFidelity",
    "fake": "croco.rewards.fake:FakeScorer",
}


@dataclass(frozen=True, slots=True)
class Scores:
    """One raw reward per candidate, the parts that a composite made them of, and what gates took from
    each; nothing where there is no gate."""

    rewards: list[float]
    parts: dict[str, list[float]] = field(default_factory=dict)
    taken: list[float] = field(default_factory=list)

    def rows(self, keys: Sequence[tuple[Key, int]]) -> list[Rewards]:
        """As rows of so many answers each; EngineError unless each answer has a finite reward."""
        wanted = sum(count for _, count in keys)
        if any(len(column) != wanted for column in (self.rewards, *self.parts.values())):
            raise EngineError(f"the scorer gave {len(self.rewards)} rewards for {wanted} answers")
        if not all(math.isfinite(reward) for reward in self.rewards):
            raise EngineError("the reward is not a finite number")
        rows, start = [], 0
        for key, count in keys:
            end = start + count
            parts = {name: values[start:end] for name, values in self.parts.items()}
            rows.append(Rewards(*key, self.rewards[start:end], parts))
            start = end
        return rows


class Scorer(Protocol):
    """Scores answers; built as `Scorer(config, resources, trained)`."""

    def score(self, candidates: Sequence[Candidate]) -> Scores:
        """Raises where a candidate cannot be scored; there is no sentinel value."""
        ...


@keep
def load(config: RewardConfig, resources: Resources, trained: Path | None = None) -> Scorer:
    """The scorer that `config` describes; `trained` is the folder of a model trained in this run."""
    scorer: Scorer = load_class(config.kind, SCORERS, "reward kind")(config, resources, trained)
    return scorer


def check(config: RewardConfig) -> None:
    """RecipeError where a template of the reward, or of a part of it, cannot be used."""
    from croco.rewards.prompted import VALUES

    for one in config.walk():
        if one.prompt:
            templates.read(one.prompt.file, VALUES)
