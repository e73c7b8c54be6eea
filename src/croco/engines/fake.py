"""A deterministic engine without a model: it runs the whole pipeline in seconds and backs the tests.

An answer is a row of words such as `es:pan`, most of them in the language that the prompt's function
words suggest. A fake adapter (see `croco.training.fake`) makes more of them so.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterable, Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path

from croco.engines import Reply, Request
from croco.identifiers import FAKE_WORDS
from croco.models import ModelRef
from croco.records import Completion
from croco.settings import Resources, Sampling
from croco.tokens import Chat

BOS, EOS = 1, 2
#: The environment variable with the seconds that a request takes as if a device were at work; for trying
#: out executors. It changes no answer.
LATENCY = "CROCO_FAKE_LATENCY"
FUNCTION_WORDS = {
    "en": "the a an is are do does what why how i my me to of for in it can you and with",
    "es": "el la los las un una es son qué cómo por para mi de en y con me se hay puedo que",
    "fr": "le la les un une des est que quel pourquoi comment je mon ma pour de du en et avec",
    "de": "der die das ein eine ist sind was warum wie ich mein meine zu von für im und mit mir",
    "it": "il la lo gli un una è sono che cosa perché come mi mio per di del in e con ho",
    "pt": "o a os as um uma é são que porque como meu minha para de do em e com me",
    "nl": "de het een is zijn wat waarom hoe ik mijn voor van in en met je kan mij",
    "da": "det den en et er hvad hvorfor hvordan jeg min mit til af for i og med mig kan",
    "sv": "det den en ett är vad varför hur jag min mitt till av för i och med mig kan",
    "ga": "an na is tá cad conas cén mo do le ar i agus a dom chun go liom",
}


class FakeEngine:
    """Answers that depend on the prompt's ids, the seed and the adapter's strength alone."""

    context_length = 4096

    def __init__(
        self,
        policy: ModelRef,
        sampling: Sampling,
        resources: Resources,
        adapter: Path | None = None,
    ) -> None:
        self._max_tokens = sampling.max_tokens
        self._fidelity = 0.55 + 0.4 * strength_of(adapter)

    def encode(self, chat: Chat) -> list[int]:
        """BOS, then an id per word."""
        words = [word for message in chat for word in message["content"].lower().split()]
        return [BOS, *(_token(word) for word in words)]

    def generate(self, batches: Iterable[list[Request]]) -> Iterator[list[Reply]]:
        """Batch by batch."""
        latency = float(os.environ.get(LATENCY, "0"))
        for batch in batches:
            time.sleep(latency * len(batch))
            yield [self._reply(request) for request in batch]

    def _reply(self, request: Request) -> Reply:
        ids = self.encode(request.chat)
        answers = [self._answer(ids, _language(ids), seed) for seed in request.seeds]
        return Reply(request, ids, answers)

    def _answer(self, prompt_ids: list[int], lang: str, seed: int) -> Completion:
        draw = random.Random(f"{seed}:{prompt_ids}")  # noqa: S311
        asked = draw.random() < self._fidelity
        length = draw.randint(3, 24)
        words = [
            f"{lang if asked else 'en'}:{draw.choice(FAKE_WORDS)}"
            for _ in range(min(length, self._max_tokens))
        ]
        stopped = length < self._max_tokens
        ids = [_token(word) for word in words] + ([EOS] if stopped else [])
        return Completion(" ".join(words), ids, "stop" if stopped else "length")


def _language(prompt_ids: list[int]) -> str:
    """The language with the most function words in a prompt; English where none has any."""
    table = _function_tokens()
    return max(table, key=lambda lang: sum(token in table[lang] for token in prompt_ids))


def guess_language(text: str) -> str:
    """The language of a text by the same rule; a role's name before it does no harm."""
    return _language([_token(word) for word in text.lower().split()])


@cache
def _function_tokens() -> dict[str, frozenset[int]]:
    return {lang: frozenset(map(_token, words.split())) for lang, words in FUNCTION_WORDS.items()}


@cache
def _token(word: str) -> int:
    return 3 + int.from_bytes(sha256(word.encode()).digest()[:4]) % 50_000


def strength_of(adapter: Path | None) -> float:
    """How strong a fake adapter is, from 0 (none) to 1."""
    if adapter is None:
        return 0.0
    return float(json.loads((adapter / "adapter_config.json").read_text())["strength"])
