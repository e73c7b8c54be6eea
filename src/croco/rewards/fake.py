"""Rewards without a model, deterministic, for the fake engine and the tests."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from croco.records import Candidate
from croco.reward_settings import RewardConfig
from croco.rewards import Scores
from croco.settings import Resources


class FakeScorer:
    """A pseudo-random number in [-2, 2] plus the share of words in the asked language (`es:pan`)."""

    def __init__(self, config: RewardConfig, resources: Resources, trained: Path | None) -> None:
        pass

    def score(self, candidates: Sequence[Candidate]) -> Scores:
        """One reward per answer, the same in every process."""
        return Scores([_noise(c) + _share(c) for c in candidates])


def brevity(*, prompt: str, response: str, lang: str) -> float:
    """Fewer words are better: a judge that knows nothing of the fake reward."""
    return -float(len(response.split()))


def _noise(candidate: Candidate) -> float:
    text = "\0".join([candidate.prompt, candidate.response, candidate.lang])
    number = int.from_bytes(sha256(text.encode()).digest()[:8], "big")
    return 4 * number / (2**64 - 1) - 2


def _share(candidate: Candidate) -> float:
    words = candidate.response.split()
    own = [word for word in words if word.startswith(f"{candidate.lang}:")]
    return len(own) / len(words) if words else 0.0
