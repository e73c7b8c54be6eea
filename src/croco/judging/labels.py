"""What a judge's words say: the verdict in its text, as "A", "B", a tie, or none."""

from __future__ import annotations

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


#: Emphasis, quotes and spaces, which say nothing in a label.
_SILENT = str.maketrans("", "", " \t\r\n\u00a0*_~`\"'\\")


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
    plain = (unicodedata.normalize("NFKC", label).translate(_SILENT).upper() for label in labels)
    return {LABELS[label] for label in plain if label in LABELS}
