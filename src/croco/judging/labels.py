"""What a judge's words say: the verdict in its text, as "A", "B", a tie, or none."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable
from typing import Literal

Side = Literal["A", "B", "tie"]

#: Labels as judges give them, in capitals and without spaces: the sign says who is better.
LABELS: dict[str, Side] = {
    "A": "A",
    "B": "B",
    "C": "tie",
    "TIE": "tie",
    "A>>B": "A",
    "A>B": "A",
    "B<A": "A",
    "B<<A": "A",
    "B>>A": "B",
    "B>A": "B",
    "A<B": "B",
    "A<<B": "B",
    "A=B": "tie",
    "B=A": "tie",
}


#: Emphasis, quotes, brackets and the sentence's end, which say nothing in a label.
_SILENT = frozenset("*_~`\"'\\()[].:!")
#: Signs, and the letters of Cyrillic and Greek that look like the labels.
_SIGNS = str.maketrans({"\u226b": ">>", "\u226a": "<<"}) | str.maketrans(
    "\u0410\u0412\u0421\u0391\u0392", "ABCAB"
)
#: What a label may be called.
_NAMES = ("ANSWER", "RESPONSE", "ASSISTANT")


def verdict_in(labels: Iterable[str]) -> tuple[Side | None, str]:
    """The side that all known labels name; where there is none, why: "no label" or "contradictory"."""
    known = _sides(labels)
    if len(known) == 1:
        return known.pop(), ""
    return None, "contradictory" if known else "no label"


def side_of(labels: Iterable[str]) -> Side | None:
    """The side that all known labels name; None where there is none, or where they contradict.

    A judge that names two sides has repeated its instructions or changed its mind, and nothing tells
    which of the two; so does Arena-Hard. Unknown labels, such as `[[error]]` or `[[1]]`, say nothing.
    """
    return verdict_in(labels)[0]


def _sides(labels: Iterable[str]) -> set[Side]:
    return {LABELS[plain] for plain in map(_plain, labels) if plain in LABELS}


def _plain(label: str) -> str:
    """A label in capitals, without what says nothing in it."""
    normal = unicodedata.normalize("NFKC", html.unescape(label))
    kept = (one for one in normal if not one.isspace() and one not in _SILENT)
    plain = "".join(one for one in kept if unicodedata.category(one) != "Cf").upper()
    plain = plain.translate(_SIGNS)
    return next((plain.removeprefix(name) for name in _NAMES if plain.startswith(name)), plain)
