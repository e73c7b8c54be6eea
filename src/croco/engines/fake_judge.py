"""A deterministic judge without a model: it compares two answers of the fake engine's words.

It rates an answer by its share of words in the language of the conversation and by its length, leans
towards the answer that is shown first, calls near things a tie, and now and then forgets its verdict,
as real judges do.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator

from croco.engines import Reply, Request
from croco.engines.fake import FakeEngine, guess_language
from croco.records import Completion

#: What being shown first is worth, what a tie may be apart, and how often a verdict is forgotten.
LEANING, TIE, FORGOTTEN = 0.03, 0.04, 0.04


class FakeJudge(FakeEngine):
    """Answers templates that mark their parts as `bundled:compare.yaml` does."""

    def generate(self, batches: Iterable[list[Request]]) -> Iterator[list[Reply]]:
        """Batch by batch."""
        for batch in batches:
            yield [self._judged(request) for request in batch]

    def _judged(self, request: Request) -> Reply:
        text = request.chat[-1]["content"]
        draw = random.Random(f"{request.seeds[0]}:{text}")  # noqa: S311
        lang = guess_language(_part(text, "conversation"))
        lead = (
            _merit(_part(text, "answer_a"), lang) + LEANING - _merit(_part(text, "answer_b"), lang)
        )
        label = "C" if abs(lead) <= TIE else "A" if lead > 0 else "B"
        forgets = draw.random() < FORGOTTEN
        said = "Hard to say." if forgets else f"It is mostly in the language.\n[[{label}]]"
        return Reply(request, self.encode(request.chat), [Completion(said, [], "stop")])


def _part(text: str, name: str) -> str:
    found = re.search(rf"<{name}>\n(.*?)\n</{name}>", text, re.DOTALL)
    return found[1] if found else ""


def _merit(answer: str, lang: str) -> float:
    """The share of words in the language, and a little for length."""
    words = answer.split()
    own = sum(word.startswith(f"{lang}:") for word in words)
    return own / max(1, len(words)) + 0.01 * len(words)
