"""The language of an answer as reward: how probable it is that it is the one asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from croco.languages import load_identifier
from croco.records import Candidate
from croco.reward_settings import RewardConfig
from croco.rewards import Scores
from croco.settings import Resources
from croco.spoken import Spoken, hear

#: The reward of an answer whose language cannot be told: neither for nor against it.
CANNOT_TELL = 0.5


class LanguageFidelity:
    """Scores with the probability of the asked language under `config.identifier`."""

    def __init__(self, config: RewardConfig, resources: Resources, trained: Path | None) -> None:
        self.identifier = load_identifier(config.identifier or "py3langid")

    def score(self, candidates: Sequence[Candidate]) -> Scores:
        """One probability, from 0 to 1, per answer; one half where the language cannot be told."""
        found = self.hear(candidates)
        return Scores([CANNOT_TELL if one.right is None else one.share for one in found])

    def hear(self, candidates: Sequence[Candidate]) -> list[Spoken]:
        """What the identifier says of each answer."""
        responses, langs = [c.response for c in candidates], [c.lang for c in candidates]
        return hear(responses, langs, self.identifier)
