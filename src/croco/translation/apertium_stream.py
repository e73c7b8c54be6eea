"""Texts in Apertium's stream format and back: what must be kept goes through as superblanks `[n]`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from itertools import groupby

from croco.errors import EngineError
from croco.translation.spans import masked

#: Ends every text, as apertium-destxt ends one: the tagger waits for the end of a sentence.
END = ".[][\n]"
#: Punctuation that means something in the stream or marks an unknown word; symbols (`^$<>~|`) do as
#: well, but no symbol is shown to Apertium anyway.
SPECIAL = frozenset("[]{}\\/*#@")

# What words must not move across: lines with their bullets, headings and quotes. The look-behind
# lets a run of spaces be tried from its start only.
_MARKER = r"(?:(?:[-*+•>]|#{1,6}|\d{1,3}[.)])\s+)*"
_BREAK = re.compile(rf"(?:\A|(?<!\s)[^\S\n]*\n)\s*{_MARKER}|(?<!\s)\s+\Z")
_CELLS = str.maketrans("|\t", "\n\n")
_MARKED = re.compile(r"[*#@]+(\w+(?:['\u2019-]\w+)*)?")


def translated(text: str, ask: Callable[[str], str]) -> tuple[str, list[str]]:
    """The text with each of its lines translated by `ask`, a stream to a stream, and unknown words.

    Raises EngineError where Apertium's answer lost what it had to keep.
    """
    mask = masked(text).translate(_CELLS)
    breaks = [found.span() for found in _BREAK.finditer(mask)]
    out: list[str] = []
    unknown: list[str] = []
    start = 0
    for from_, to in [*breaks, (len(text), len(text))]:
        line, words = _line(text[start:from_], mask[start:from_], ask)
        out += [line, text[from_:to]]
        unknown += words
        start = to
    return "".join(out), unknown


def _line(text: str, mask: str, ask: Callable[[str], str]) -> tuple[str, list[str]]:
    """A line's translation and its unknown words; a line without letters stays as it is."""
    if not any(map(str.isalpha, mask)):
        return text, []
    stream, kept = encode(text, mask)
    return decode(ask(stream), kept)


def encode(text: str, mask: str) -> tuple[str, list[str]]:
    """A line as a stream, and what its superblanks stand for; `mask` is the line with spans masked."""
    kept: list[str] = []

    def keep(what: str) -> str:
        kept.append(what)
        return f"[{len(kept) - 1}]"

    out: list[str] = []
    for plain, pairs in groupby(zip(text, mask, strict=True), lambda pair: _plain(pair[1])):
        run = "".join(character for character, _ in pairs)
        if plain:
            run = re.sub(r"  +", lambda spaces: keep(spaces[0]), run)
        out.append(run if plain else keep(run))
    # The empty superblank keeps a last "no" or "Mr" apart from the added point: "no." is a number.
    return "".join([*out, keep(""), END]), kept


def decode(stream: str, kept: list[str]) -> tuple[str, list[str]]:
    """The line that a stream holds, and the words that Apertium marked: not known or not generated."""
    places = sorted(int(place) for place in re.findall(r"\[(\d+)\]", stream))
    if not stream.endswith(END) or places != list(range(len(kept))):
        raise EngineError("Apertium's answer lost a part of the text: leave this text out")
    unknown: list[str] = []

    def unmarked(found: re.Match[str]) -> str:
        unknown.extend(word for word in found.groups() if word)
        return found[1] or ""

    # The text's own marks are in superblanks, so these are Apertium's. A word that it dropped leaves
    # its space behind.
    line = _MARKED.sub(unmarked, stream.removesuffix(END))
    line = re.sub(r"  +", " ", re.sub(r"\\(.)", r"\1", line))
    return re.sub(r"\[(\d+)\]", lambda place: kept[int(place[1])], line).strip(" "), unknown


def _plain(character: str) -> bool:
    """Whether Apertium may see it: letters, digits, punctuation and a space, but nothing special."""
    if character == " ":
        return True
    return character not in SPECIAL and unicodedata.category(character)[0] in "LMNP"
