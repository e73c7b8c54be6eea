"""Engines generate text; a stage knows only the protocol and `load`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from croco.errors import DataError
from croco.models import ModelRef
from croco.plugins import load_class
from croco.reasoning import Markers
from croco.records import Completion, Prompt
from croco.settings import Resources, Sampling
from croco.tokens import Chat

ENGINES = {
    "fake": "croco.engines.fake:FakeEngine",
    "fake-judge": "croco.engines.fake_judge:FakeJudge",
    "transformers": "croco.engines.transformers:TransformersEngine",
    "vllm": "croco.engines.vllm:VllmEngine",
    "openai": "croco.engines.openai:OpenAIEngine",
}

#: Tokens that a chat template seldom adds more of.
TEMPLATE = 256


@dataclass(frozen=True, slots=True)
class Request:
    """A chat to answer once per seed; `key` is the asker's own, for telling replies apart.

    The answers are those of a row from place `first` on; `row_seed` is the seed of the row's answer 0
    (none: the first of `seeds`), for servers that count a row's seeds up from there by themselves.
    """

    key: Any
    chat: Chat
    seeds: list[int]
    temperature: float = 1.0
    first: int = 0
    row_seed: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """The answers to a request, one per seed, or the error that makes it a failure.

    `prompt_ids` are the ids that the model was given. Token counts are a server's; 0 where none counted.
    """

    request: Request
    prompt_ids: list[int] = field(default_factory=list)
    completions: list[Completion] = field(default_factory=list)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: Exception | None = None


class Generator(Protocol):
    """Samples answers; built as `Engine(policy, sampling, resources, adapter=None)`."""

    #: The most tokens of prompt and answer together; None where only a server knows.
    context_length: int | None

    def encode(self, chat: Chat) -> list[int]:
        """The token ids of a chat up to the model's turn, with exactly one BOS where the model has one."""
        ...

    def generate(self, batches: Iterable[list[Request]]) -> Iterator[list[Reply]]:
        """One reply per request, in any order, as they are ready; equal seeds give equal answers.

        An engine may take any number of batches before it gives a reply.
        """
        ...


def load(
    name: str,
    policy: ModelRef,
    sampling: Sampling,
    resources: Resources,
    adapter: Path | None = None,
) -> Generator:
    """The engine of that name, or of a `module:Class` of the user's, with its model ready.

    Its completions are answers, separated from the reasoning before them.
    """
    engine: Generator = load_class(name, ENGINES, "engine")(policy, sampling, resources, adapter)
    return _Separating(engine, sampling.markers)


class _Separating:
    """An engine whose completions hold answers, whatever the engine itself makes of reasoning."""

    def __init__(self, engine: Generator, markers: Markers) -> None:
        self._engine, self._markers = engine, markers
        self.context_length = engine.context_length

    def encode(self, chat: Chat) -> list[int]:
        """As the engine encodes it."""
        return self._engine.encode(chat)

    def generate(self, batches: Iterable[list[Request]]) -> Iterator[list[Reply]]:
        """As the engine replies."""
        for replies in self._engine.generate(batches):
            yield [self._separated(reply) for reply in replies]

    def _separated(self, reply: Reply) -> Reply:
        found = [one.separated(self._markers) for one in reply.completions]
        return replace(reply, completions=found)


def refuse_too_long(engine: Generator, prompts: Iterable[Prompt], sampling: Sampling) -> None:
    """DataError where a prompt leaves too little of the model's context for its answer."""
    if engine.context_length is None:
        return
    room = engine.context_length - sampling.max_tokens
    for prompt in prompts:
        chat = prompt.chat
        # A token is at least a byte: short texts need no count.
        if sum(len(turn["content"].encode()) for turn in chat) + TEMPLATE <= room:
            continue
        length = len(engine.encode(chat))
        if length > room:
            raise DataError(
                f"prompt {prompt.id!r} ({prompt.lang}) has {length} tokens and the model's context"
                f" leaves {room} beside sample.max_tokens: shorten it or lower sample.max_tokens"
            )
