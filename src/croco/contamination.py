"""Training prompts that give evaluation prompts away: the same id, the same text, or many of its n-grams.

Texts are compared by their words (`wording`). An n-gram is n words in a row, as in the decontamination of
GPT-3 (Brown et al. 2020, appendix C), where n depends on the length of the texts as it does here.
`benchmarks/contamination_edits.py` measures what is found.
"""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from croco.records import MULTIPLE, Overlap, Prompt
from croco.wording import words, words_of_piece

#: Words in an n-gram at most, and the share of an evaluation prompt's n-grams, in one training prompt,
#: that is too much.
N, THRESHOLD = 8, 0.5
#: Prompts of fewer words are compared as a whole; shorter ones than `SHORT` with whole prompts that differ
#: in one word, and as one run of words in longer prompts.
FEWEST, SHORT = 5, 8
#: Prompts of so many words are the same in another order of their words.
REORDERED = 3
#: Training prompts that are read at a time, and n-grams in common that are counted at a time.
CHUNK, AT_ONCE = 1024, 2**22

_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying loses nothing
_MASK = 2**64 - 1
#: Pieces of text that are longer are not kept: they hardly come twice.
_KEPT = 40

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
#: An evaluation prompt's place, a training prompt's place, the kind and the share.
Found = tuple[int, int, str, float]


def overlaps(
    train: Iterable[Prompt], heldout: Sequence[Prompt], n: int = N, threshold: float = THRESHOLD
) -> list[Overlap]:
    """What training prompts give away of evaluation prompts, whatever the languages of the two texts.

    One row per pair of ids that are the same, and per pair of ids and language of the evaluation prompt
    that are alike, with the training prompt that is most so. Sorted by the evaluation prompt's id.
    """
    index = _Index(heldout, n)
    best: dict[tuple[str, str, str], Overlap] = {}
    ids = {row.id for row in heldout}
    for rows in _chunks(train):
        for id in ids.intersection(row.id for row in rows):
            best[id, MULTIPLE, id] = Overlap(id, MULTIPLE, id, MULTIPLE, "id", 1.0)
        for place, k, kind, share in index.like(rows, threshold):
            own, row = heldout[place], rows[k]
            found = Overlap(own.id, own.lang, row.id, row.lang, kind, share)
            key = (own.id, own.lang, row.id)
            if key not in best or _strength(found) > _strength(best[key]):
                best[key] = found
    return [best[key] for key in sorted(best)]


def _chunks(train: Iterable[Prompt]) -> Iterator[list[Prompt]]:
    rows = iter(train)
    while chunk := list(islice(rows, CHUNK)):
        yield chunk


def _strength(row: Overlap) -> tuple[Any, ...]:
    """Kinds are ordered, so that of equals the same one is named whatever comes first."""
    return row.kind == "exact", row.share, row.kind == "words", row.train_lang


class _Hashes(dict[str, tuple[int, ...]]):
    """Hashes of 64 bits of the words in a piece of text, which are the same in every process."""

    def __missing__(self, piece: str) -> tuple[int, ...]:
        found = tuple(map(_hash, words_of_piece(piece)))
        if len(piece) <= _KEPT:
            self[piece] = found
        return found


def _hash(word: str) -> int:
    digest = blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest)


def size_of(count: int, n: int = N, characters: bool = False) -> int:
    """The words in an n-gram of a prompt of so many words; 0 where it has none.

    A third of the prompt at most: then more than half of the n-grams, or half, are whole after one word
    has changed. Where most words are `characters` a changed word is two of them.
    """
    if count < SHORT:
        return count if count >= FEWEST else 0
    return min(n, (count - 1) // 3 if characters else (count + 1) // 3)


class _Texts:
    """Some prompts as one array of the hashes of their words: where each begins and ends, and its sum."""

    def __init__(self, rows: Sequence[Prompt], hashes: _Hashes) -> None:
        lists = [_hashed(row, hashes) for row in rows]
        sizes = np.array([len(own) for own in lists], np.int64)
        self.flat = np.array([hash for own in lists for hash in own], np.uint64)
        self.owner = np.repeat(np.arange(len(lists)), sizes)
        self.ends = np.cumsum(sizes)
        self.starts, self.sizes = self.ends - sizes, sizes
        summed = np.append(np.uint64(0), np.cumsum(self.flat, dtype=np.uint64))
        self.sums = summed[self.ends] - summed[self.starts]

    def text(self, k: int) -> Hashes:
        """The hashes of one prompt."""
        return self.flat[self.starts[k] : self.ends[k]]

    def grams(self, sizes: Iterable[int]) -> Iterator[tuple[int, Hashes, Places]]:
        """For each size the hashes of all runs of so many words, and the prompts that they are of."""
        wanted, grams = set(sizes), self.flat
        for k in range(1, max(wanted, default=0) + 1):
            if k > 1:
                grams = grams[:-1] * _FACTOR + self.flat[k - 1 :]
            if k in wanted and len(grams):
                whole = self.owner[: len(grams)] == self.owner[k - 1 :]
                yield k, grams[whole], self.owner[: len(grams)][whole]


def _said(row: Prompt) -> str:
    """What the user says in a prompt; a system prompt is many prompts' own."""
    if not row.before:
        return row.prompt
    said = [turn.content for turn in row.before if turn.role == "user"]
    return "\n".join([*said, row.prompt])


def _hashed(row: Prompt, hashes: _Hashes) -> list[int]:
    """The hashes of a prompt's words."""
    text = _said(row)
    pieces = (html.unescape(text) if "&" in text else text).split()
    return [hash for piece in pieces for hash in hashes[piece]]


class _Index:
    """The evaluation prompts by the hashes of their n-grams, of all their words, and of all but one.

    Memory is about 20 bytes per n-gram and the hashes of each short piece of text that occurs.
    """

    def __init__(self, heldout: Sequence[Prompt], n: int) -> None:
        self.hashes = _Hashes()
        self.texts = texts = _Texts(heldout, self.hashes)
        characters = [_are_characters(words(_said(row))) for row in heldout]
        sizes = zip(texts.sizes.tolist(), characters, strict=True)
        self.size = np.array([size_of(count, n, own) for count, own in sizes], np.int64)
        self.sums: defaultdict[int, list[int]] = defaultdict(list)
        for place, total in enumerate(texts.sums.tolist()):
            self.sums[total].append(place)
        self.bags = np.array(sorted(self.sums), np.uint64)
        self._index_short(characters)
        self._index_grams()

    def _index_short(self, characters: Sequence[bool]) -> None:
        """Short prompts by the sum of their words, and of all but one; not those of single characters."""
        self.short: defaultdict[int, list[int]] = defaultdict(list)
        self.lacking: defaultdict[int, set[int]] = defaultdict(set)
        for place, count in enumerate(self.texts.sizes.tolist()):
            if FEWEST <= count < SHORT and not characters[place]:
                total = int(self.texts.sums[place])
                self.short[total].append(place)
                for word in self.texts.text(place).tolist():
                    self.lacking[(total - word) & _MASK].add(place)

    def _index_grams(self) -> None:
        grams, owners = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        for size, own, places in self.texts.grams(self.size.tolist()):
            wanted = self.size[places] == size
            grams.append(own[wanted])
            owners.append(places[wanted])
        flat, owner = _distinct(np.concatenate(grams), np.concatenate(owners))
        self.counts = np.bincount(owner, minlength=len(self.size))
        order = np.argsort(flat, kind="stable")
        self.flat, self.owner = flat[order], owner[order]
        # A flag per value of a gram's highest bits: nearly all grams of training prompts end there.
        bits = max(10, (16 * len(flat)).bit_length())
        self.shift = np.uint64(64 - bits)
        self.seen = np.zeros(1 << bits, bool)
        self.seen[self.flat >> self.shift] = True

    def like(self, rows: Sequence[Prompt], threshold: float) -> Iterator[Found]:
        """What some training prompts are like."""
        texts = _Texts(rows, self.hashes)
        yield from self._same_words(texts)
        yield from self._all_but_one(texts)
        for places, owners, counts in self._shared(texts):
            shares = counts / self.counts[places]
            for k in np.flatnonzero(shares >= threshold).tolist():
                yield int(places[k]), int(owners[k]), "ngram", float(shares[k])

    def _same_words(self, texts: _Texts) -> Iterator[Found]:
        """Prompts of the same words: in the same order, or in another one."""
        for k in np.flatnonzero(np.isin(texts.sums, self.bags) & (texts.sizes > 0)).tolist():
            for place in self.sums[int(texts.sums[k])]:
                if np.array_equal(self.texts.text(place), texts.text(k)):
                    yield place, k, "exact", 1.0
                elif texts.sizes[k] >= REORDERED:
                    yield place, k, "words", 1.0

    def _all_but_one(self, texts: _Texts) -> Iterator[Found]:
        """Short prompts of which one word was changed, dropped or added."""
        for k in np.flatnonzero((texts.sizes >= FEWEST - 1) & (texts.sizes <= SHORT)).tolist():
            total = int(texts.sums[k])
            rest = {(total - word) & _MASK for word in texts.text(k).tolist()}
            for place in {place for one in (total, *rest) for place in self.lacking.get(one, ())}:
                yield place, k, "words", 1 - 1 / int(self.texts.sizes[place])
            for place in {place for one in rest for place in self.short.get(one, ())}:
                yield place, k, "words", 1.0

    def _shared(self, texts: _Texts) -> Iterator[tuple[Places, Places, Places]]:
        """Evaluation and training prompts that have n-grams in common, and how many."""
        grams, owners = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        for _, own, places in texts.grams(self.size.tolist()):
            likely = self.seen[own >> self.shift]
            grams.append(own[likely])
            owners.append(places[likely])
        gram, owner = _distinct(np.concatenate(grams), np.concatenate(owners))
        first = np.searchsorted(self.flat, gram, "left")
        spans = np.searchsorted(self.flat, gram, "right") - first
        if spans.any():
            yield from self._counted(first, spans, owner)

    def _counted(
        self, first: Places, spans: Places, owner: Places
    ) -> Iterator[tuple[Places, Places, Places]]:
        """The same of n-grams that are `spans` places from `first` on, by halves where they are many."""
        if spans.sum() > AT_ONCE and owner[0] < owner[-1]:
            middle = np.searchsorted(owner, (owner[0] + owner[-1]) // 2, "right")
            for half in (slice(None, middle), slice(middle, None)):
                yield from self._counted(first[half], spans[half], owner[half])
            return
        at = np.repeat(first - np.cumsum(spans) + spans, spans) + np.arange(spans.sum())
        pairs = np.repeat(owner, spans) * len(self.size) + self.owner[at]
        found, counts = np.unique(pairs, return_counts=True)
        yield found % len(self.size), found // len(self.size), counts


def _distinct(grams: Hashes, owners: Places) -> tuple[Hashes, Places]:
    """Each n-gram of a prompt once."""
    order = np.lexsort((grams, owners))
    grams, owners = grams[order], owners[order]
    new = np.ones(len(grams), bool)
    new[1:] = (np.diff(owners) != 0) | (grams[1:] != grams[:-1])
    return grams[new], owners[new]


def _are_characters(found: Sequence[str]) -> bool:
    """Whether most words are single characters, as in scripts without spaces."""
    return 2 * sum(len(word) == 1 for word in found) > len(found)
