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
        found = {name: part.score(candidates) for name, part in self.parts.items()}
        values = {name: own.rewards for name, own in found.items()}
        sums, taken = [0.0] * len(candidates), [0.0] * len(candidates)
        for name, own in found.items():
            weight = self.weights.get(name, 1.0)
            sums = _added(sums, weight, own.rewards)
            taken = _added(taken, weight, own.taken or [0.0] * len(candidates))
        if self.gate:
            heard = self.fidelity.hear(candidates)
            values[LANGUAGE] = [one.share for one in heard]
            below = [one.reaches(self.gate.threshold) is False for one in heard]
            sums = _added(sums, -self.gate.penalty, below)
            taken = _added(taken, self.gate.penalty, below)
        if not all(map(math.isfinite, sums)):
            raise EngineError("a composite reward is not finite: check its parts and weights")
        gated = self.gate or any(own.taken for own in found.values())
        return Scores(sums, values, taken if gated else [])


def _added(sums: Sequence[float], weight: float, values: Sequence[float]) -> list[float]:
    return [total + weight * value for total, value in zip(sums, values, strict=True)]
