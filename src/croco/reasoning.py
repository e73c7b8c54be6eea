"""The reasoning that a model writes before its answer, and the answer: the one place that separates them.

Whoever reads a model's words (rewards, judges, identifiers, lengths, filters, pairs, reports) reads the
answer. What a model thought before is neither judged nor measured; training sees the whole text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

#: The texts that open and close reasoning.
Markers = Sequence[tuple[str, str]]

#: Markers of published models, and of prompts that ask any model to think first.
KNOWN: Markers = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<thoughts>", "</thoughts>"),
    ("<reasoning>", "</reasoning>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<seed:think>", "</seed:think>"),
    ("<|channel>thought", "<channel|>"),
    ("<unused94>thought", "<unused95>"),
    ("[THINK]", "[/THINK]"),
    ("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
)

FENCE = "```"
#: Characters between two mentioned markers of one expression at most.
NEAR = 200
QUOTES = frozenset("`\"'\u2018\u2019\u201c\u201d\u00ab\u00bb")


@dataclass(frozen=True, slots=True)
class Separated:
    """A text's reasoning and its answer; without reasoning the answer is the text as it is.

    `closed` is false where reasoning begins and does not end: what follows is no answer.
    """

    reasoning: str
    answer: str
    closed: bool = True


def separate(text: str, markers: Markers = KNOWN) -> Separated:
    """What stands between markers, and the rest without the white space around it.

    A closing marker alone ends reasoning that the prompt has opened: all before it is reasoning. Markers
    in quotes and in blocks of code belong to an answer that speaks of them. A marker in lower case is
    found in any case.
    """
    found = list(_marks(text, tuple((one, other) for one, other in markers))) if markers else []
    if not found:
        return Separated("", text)
    outside, reasoning, start, closing = [], [], 0, ""
    for mark in found:
        part = text[start : mark.start]
        if closing:
            reasoning.append(part)
            closing = ""
        elif mark.opens:
            outside.append(part)
            closing = mark.closing
        else:  # the prompt opened it, or a part of it was taken for the answer
            reasoning += [*outside, part]
            outside = []
        start = mark.end
    (reasoning if closing else outside).append(text[start:])
    answer = "" if closing else "".join(outside).strip()
    return Separated("".join(reasoning).strip(), answer, not closing)


def answer_of(text: str, markers: Markers = KNOWN) -> str:
    """The answer alone."""
    return separate(text, markers).answer


@dataclass(frozen=True, slots=True)
class _Mark:
    """A marker in a text; `closing` is the text that ends what it opens, or that it is."""

    start: int
    end: int
    opens: bool
    closing: str


def _marks(text: str, markers: Markers) -> Iterator[_Mark]:
    """The markers that open or close reasoning, in order; not those that are merely mentioned."""
    pattern, kinds = _pattern(markers)
    inside, fenced, mentioned = "", False, dict[str, int]()
    for match in pattern.finditer(text):
        start, end = match.span()
        name = match[0] if match[0] in kinds else match[0].lower()
        if name == FENCE:
            fenced = not inside and not fenced and text.find(FENCE, end) >= 0
            mentioned = {}
            continue
        opens, closing = kinds[name]
        if inside:
            if not opens and closing == inside and not all(_quotes(text, start, end)):
                inside = ""
                yield _Mark(start, end, opens, closing)
        elif opens and (fenced or _quotes(text, start, end)[0]):
            mentioned[closing] = end
        elif opens:
            inside = closing
            yield _Mark(start, end, opens, closing)
        elif not _mentions(text, start, end, fenced, mentioned.get(closing)):
            yield _Mark(start, end, opens, closing)


def _mentions(text: str, start: int, end: int, fenced: bool, opened: int | None) -> bool:
    """Whether a closing marker is only mentioned; `opened` is where its opening one was, before it."""
    if all(_quotes(text, start, end)):
        return True
    if opened is None:
        return False
    near = start - opened <= NEAR and "\n" not in text[opened:start]
    return fenced or (near and any(_quotes(text, start, end)))


def _quotes(text: str, start: int, end: int) -> tuple[bool, bool]:
    """Whether a quotation mark or backtick stands before a marker, and whether one stands after it."""
    return text[start - 1 : start] in QUOTES, text[end : end + 1] in QUOTES


@lru_cache(maxsize=64)
def _pattern(markers: Markers) -> tuple[re.Pattern[str], dict[str, tuple[bool, str]]]:
    """What finds markers and blocks of code, and for each marker whether it opens and what closes it."""
    kinds = {
        name: (opens, closing)
        for opening, closing in markers
        for name, opens in ((opening, True), (closing, False))
    }
    longest_first = sorted([*kinds, FENCE], key=len, reverse=True)
    written = [f"(?i:{re.escape(n)})" if n.islower() else re.escape(n) for n in longest_first]
    return re.compile("|".join(written)), kinds
