"""Sampled token ids as completions: the text of the answer, and of the reasoning before it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from croco.reasoning import KNOWN, Markers
from croco.records import Completion, FinishReason
from croco.tokens import answer_text, special_inside

#: The last ids of a prompt that are looked at for a marker of reasoning.
TAIL = 32


def completion(
    tokenizer: Any,
    asked: Sequence[int],
    ids: list[int],
    reason: FinishReason,
    ends: Sequence[int] = (),
    stops: Sequence[str] = (),
    markers: Markers = KNOWN,
) -> Completion:
    """A sampled answer from its ids, after a prompt of the ids `asked`; its reasoning is separated.

    `ends` are the ids that end an answer, and `stops` the texts that do.
    """
    own = ids[:-1] if ids and ids[-1] in ends else ids
    opening = opening_of(tokenizer, asked, markers)
    text = opening + answer_text(tokenizer, own, stops, markers)
    special = special_inside(tokenizer, ids, ends, markers)
    found = Completion(text, ids, reason, special).separated(markers)
    if not found.whole:
        return found
    return replace(found, reasoning_tokens=_before(tokenizer, found, len(opening), markers))


def _before(tokenizer: Any, found: Completion, opened: int, markers: Markers) -> int:
    """How many of a completion's ids are its reasoning; `opened` characters of it are the prompt's."""
    ids, answer = found.token_ids, found.text
    if not answer:
        return len(ids)
    place = found.whole.rfind(answer)
    before = found.whole[: place if place >= 0 else len(found.whole) - len(answer)].rstrip()
    return bisect_left(
        range(len(ids)),
        len(before) - opened,
        key=lambda count: len(answer_text(tokenizer, ids[:count], markers=markers)),
    )


def without_opening(text: str, opening: str) -> str:
    """A whole text without the marker that a prompt has opened its reasoning with, white space aside."""
    bare = opening.strip()
    if not bare or not text.startswith(bare):
        return text
    rest = text.removeprefix(bare)
    return rest if opening == bare else rest.lstrip()


def opening_of(tokenizer: Any, asked: Sequence[int], markers: Markers = KNOWN) -> str:
    """The marker with which a prompt's ids open the model's reasoning, as many templates do; or ""."""
    tail: str = tokenizer.decode(list(asked[-TAIL:]))
    text = tail.rstrip()
    openings = (one for one, _ in markers if text.lower().endswith(one.lower()))
    return next((tail[len(text) - len(one) :] for one in openings), "")
