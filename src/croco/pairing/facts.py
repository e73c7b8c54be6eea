"""What is known of scored responses without their texts: enough to choose pairs, small enough to keep."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from croco.arrays import Bools, Floats, Ints
from croco.calibration import Rewards
from croco.languages import load_identifier
from croco.reasoning import Markers, separate
from croco.recipe import Filters
from croco.spoken import hear
from croco.texts import same_text, same_texts

Signatures = npt.NDArray[np.uint16]

#: Near-duplicates: characters of a piece of text, and minima kept of a text's pieces.
PIECE, MINIMA = 5, 64


@dataclass(frozen=True, slots=True)
class Facts:
    """One value per response in every array; all responses to a prompt are here.

    `prompt`, `lang` and `writer` are places in `ids`, `langs` and `writers`. `length` is in
    characters, 0 where no filter needs it. `mark` is equal where texts are one (and seldom otherwise).
    `share` is the identifier's share of the asked language (`Spoken.level`), NaN where nobody asked it,
    and where the language cannot be told (`untold`).
    `special` is true where token ids hold special tokens that the text leaves out.
    `signature` (responses x `MINIMA`) is there where near-duplicates are looked for.
    """

    ids: Sequence[str]
    langs: Sequence[str]
    writers: Sequence[str]
    prompt: Ints
    lang: Ints
    writer: Ints
    reward: Floats
    mark: Ints
    length: Ints
    cut_off: Bools
    empty: Bools
    share: Floats
    untold: Bools
    special: Bools
    signature: Signatures | None = None

    @property
    def rewards(self) -> Rewards:
        """What a calibration is made of."""
        return Rewards(self.reward, self.prompt, self.lang, list(self.langs))

    def take(self, rows: Ints) -> Facts:
        """Facts about some of the responses alone."""
        columns = {
            field.name: getattr(self, field.name)[rows]
            for field in fields(self)
            if isinstance(getattr(self, field.name), np.ndarray)
        }
        return replace(self, **columns)


@dataclass(frozen=True, slots=True)
class TextFacts:
    """What is read off texts alone, in their order: fields are those of `Facts`."""

    mark: Ints
    length: Ints
    empty: Bools
    share: Floats
    untold: Bools
    signature: Signatures | None


def text_facts(texts: pa.Array, langs: Sequence[str], lang: Ints, filters: Filters) -> TextFacts:
    """What the filters need to know of texts; `lang` is each text's place in `langs`."""
    shares, pieces = np.full(len(texts), np.nan), None
    if filters.wrong_language != "off":
        asked = [langs[code] for code in lang]
        shares = language_shares(texts.to_pylist(), asked, filters)
    if filters.near_duplicates is not None:
        pieces = signatures(texts.to_pylist())
    length = np.zeros(len(texts), np.int64)
    if filters.max_length_ratio is not None:  # to count characters takes as long as all the rest
        length = pc.utf8_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
    mark, empty = marks(texts)
    untold = np.isnan(shares) & (filters.wrong_language != "off")
    return TextFacts(mark, length, empty, shares, untold, pieces)


def answers_in(texts: pa.StringArray, markers: Markers) -> tuple[pa.StringArray, Bools, Bools]:
    """The answers in some texts, which of these hold reasoning, and where that does not end."""
    separated, closed = np.zeros(len(texts), bool), np.ones(len(texts), bool)
    if not markers:
        return texts, separated, ~closed
    pattern = "|".join(re.escape(one) for pair in markers for one in pair)
    found = pc.match_substring_regex(texts, pattern, ignore_case=True)
    rows = np.flatnonzero(found.to_numpy(zero_copy_only=False))
    if not rows.size:  # then no text is copied
        return texts, separated, ~closed
    answers = np.array(texts.to_pylist(), dtype=object)
    for row in rows:
        one = separate(answers[row], markers)
        separated[row], closed[row] = one.answer != answers[row], one.closed
        answers[row] = one.answer
    return pa.array(answers, texts.type), separated, ~closed


def marks(texts: pa.StringArray) -> tuple[Ints, Bools]:
    """A number per text, equal for texts that are one (`same_text`) and seldom otherwise; and which texts
    are blank.

    The number is made of the size of a text's key and the bytes in its middle.
    """
    size, middle = _middles(same_texts(texts))
    mixed = middle * np.uint64(0x9E3779B97F4A7C15) + size.astype(np.uint64)
    return mixed.view(np.int64), size == 0


def _middles(texts: pa.StringArray) -> tuple[Ints, npt.NDArray[np.uint64]]:
    """Each text's size in bytes, and the 8 bytes (fewer of a short text) in its middle as a number."""
    _, starts, data = texts.buffers()
    ends = np.frombuffer(starts, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    letters = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
    size = np.diff(ends).astype(np.int64)
    middle = np.zeros(len(texts), np.uint64)
    room = np.full(len(texts), True)
    for width, kind in ((8, np.uint64), (4, np.uint32), (1, np.uint8)):
        # Numbers that begin at every byte: one look at each text, and none at what lies around it.
        wide = np.ndarray((max(0, letters.size - width + 1),), kind, letters, strides=(1,))
        own = np.flatnonzero(room & (size >= width))
        middle[own] = wide[ends[own] + size[own] // 2 - width // 2]
        room[own] = False
    return size, middle


def language_shares(texts: Sequence[str], langs: Sequence[str], filters: Filters) -> Floats:
    """The share of the asked language in each text by the filters' identifier, NaN where it cannot be
    told."""
    found = hear(texts, langs, load_identifier(filters.identifier))
    return np.array([one.level for one in found], dtype=np.float64)


def signatures(texts: Sequence[str]) -> Signatures:
    """MinHash of each text's 5-character pieces, case and white space aside (Broder, 1997).

    The share of equal entries of two signatures estimates the share of pieces that the texts have in
    common (Jaccard), with a standard error of at most 0.06.
    """
    rows = [_minima(" ".join(same_text(text).casefold().split())) for text in texts]
    return np.array(rows, dtype=np.uint16).reshape(len(texts), MINIMA)


_ODD = np.random.default_rng(5).integers(0, 2**63, MINIMA, dtype=np.uint64) * np.uint64(
    2
) + np.uint64(1)


def _minima(text: str) -> Signatures:
    points = np.frombuffer(text.ljust(PIECE).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    pieces = np.lib.stride_tricks.sliding_window_view(points, PIECE)
    with np.errstate(over="ignore"):
        hashed = (pieces * _ODD[:PIECE]).sum(axis=1, dtype=np.uint64)
        hashed = np.unique(hashed ^ (hashed >> np.uint64(29)))
        least = (hashed[:, None] * _ODD).min(axis=0)
    return np.asarray(least >> np.uint64(20)).astype(np.uint16)


def near_duplicates(best_first: Signatures, similarity: float) -> Bools:
    """Which rows of one pool are at least so similar to a better one that is kept."""
    alike = (best_first[:, None] == best_first[None]).mean(axis=2) >= similarity
    kept = np.zeros(len(best_first), bool)
    for k in range(len(best_first)):
        kept[k] = not (alike[k] & kept).any()
    return ~kept
