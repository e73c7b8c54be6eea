"""A weighted sum of rewards behind a gate: an answer in another language loses a penalty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from croco import rewards
from croco.errors import EngineError
from croco.records import Candidate
from croco.reward_settings import RewardConfig
from croco.rewards import Scores
from croco.rewards.language import LanguageFidelity
from croco.settings import Resources

LANGUAGE = "language"


class Composite:
    """Sums `config.parts`, each raw and times its weight (1 by default), minus the gate's penalty."""

    def __init__(self, config: RewardConfig, resources: Resources, trained: Path | None) -> None:
        parts = config.parts or {}
        if config.gate and LANGUAGE in parts:
            raise EngineError(f"a part may not be called {LANGUAGE!r} beside a gate: rename it")
        self.parts = {
            name: rewards.load(part, resources, trained if part.training else None)
            for name, part in parts.items()
        }
        self.weights = config.weights or {}
        self.gate = config.gate
        if config.gate:
            language = config.model_copy(update={"identifier": config.gate.identifier})
            self.fidelity = LanguageFidelity(language, resources, None)

    def score(self, candidates: Sequence[Candidate]) -> Scores:
        """The sums; `parts` has each part's raw values and the gate's probabilities as `language`, NaN
        where an answer's language cannot be told: it loses nothing."""
        values = {name: part.score(candidates).rewards for name, part in self.parts.items()}
        sums = [0.0] * len(candidates)
        for name, column in values.items():
            weight = self.weights.get(name, 1.0)
            sums = [total + weight * value for total, value in zip(sums, column, strict=True)]
        if self.gate:
            heard = self.fidelity.hear(candidates)
            values[LANGUAGE] = [one.share for one in heard]
            below = [one.reaches(self.gate.threshold) is False for one in heard]
            sums = [s - self.gate.penalty * b for s, b in zip(sums, below, strict=True)]
        if not all(map(math.isfinite, sums)):
            raise EngineError("a composite reward is not finite: check its parts and weights")
        return Scores(sums, values)
