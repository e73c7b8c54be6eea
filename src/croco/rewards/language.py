"""The language of an answer as reward: how probable it is that it is the one asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from croco.languages import load_identifier, same_language
from croco.records import Candidate
from croco.reward_settings import RewardConfig
from croco.rewards import Scores
from croco.settings import Resources


class LanguageFidelity:
    """Scores with the probability of the asked language under `config.identifier`."""

    def __init__(self, config: RewardConfig, resources: Resources, trained: Path | None) -> None:
        self.identifier = load_identifier(config.identifier or "py3langid")

    def score(self, candidates: Sequence[Candidate]) -> Scores:
        """One probability, from 0 to 1, per answer."""
        rankings = self.identifier.identify([c.response for c in candidates])
        return Scores(
            [
                sum(share for tag, share in ranking if same_language(tag, candidate.lang))
                for candidate, ranking in zip(candidates, rankings, strict=True)
            ]
        )
