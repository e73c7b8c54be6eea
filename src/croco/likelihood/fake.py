"""Likelihoods without a model: every word has a surprise that its letters decide."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from croco.engines.fake import strength_of
from croco.errors import EngineError
from croco.likelihood import Surprise
from croco.models import ModelRef
from croco.settings import Dtype, Resources

#: The context of the fake engine.
LONGEST = 4096


class FakeLikelihood:
    """Two to six nats a word; a fake adapter makes some words likelier and some less so."""

    def __init__(
        self, policy: ModelRef, dtype: Dtype, resources: Resources, adapter: Path | None
    ) -> None:
        self._strength = strength_of(adapter)

    def measure(self, texts: Sequence[str]) -> list[Surprise]:
        """A token is a word; EngineError where a text has more than 4096."""
        return [self._measure(text) for text in texts]

    def _measure(self, text: str) -> Surprise:
        words = text.split()
        if len(words) > LONGEST:
            raise EngineError(f"it has {len(words)} tokens and the model reads {LONGEST}")
        nats = sum(self._nats(word) for word in words)
        return Surprise(nats, len(words), len(text.encode()))

    def _nats(self, word: str) -> float:
        first, second = sha256(word.encode()).digest()[:2]
        return 2 + 4 * first / 255 + self._strength * (second / 255 - 0.6)
