"""Training prompts that give evaluation prompts away: the same id, the same text, or many of its n-grams.

Texts are compared as words in Unicode's compatibility form (NFKC), without case, punctuation or HTML
escapes; a symbol is a word, and so is a character of a script without spaces. An n-gram is N words in a
row, as in the decontamination of GPT-3 (Brown et al. 2020, appendix C, where N is 8 to 13).
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from croco.records import MULTIPLE, Overlap, Prompt

#: Words in an n-gram, and the share of an evaluation prompt's n-grams, in one training prompt, that is
#: too much. A prompt with fewer words is compared as a whole only.
N, THRESHOLD = 8, 0.5

#: Thai and Lao, Myanmar, Khmer, kana, and Han with its extensions: no spaces between words.
_UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3005, 0x3007),
    (0x3040, 0x30FF),
    (0x3400, 0x9FFF),
    (0x20000, 0x3FFFF),
)
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying loses nothing

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]


class _Characters(dict[int, str]):
    """What each character becomes: letters, digits and marks stay, symbols and characters of scripts
    without spaces stand alone, what has no shape (soft hyphens) goes, and all else is a space."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kind = unicodedata.category(character)
        if kind[0] == "S" or any(start <= code <= end for start, end in _UNSPACED):
            self[code] = f" {character} "
        else:
            self[code] = character if kind[0] in "LNM" else "" if kind == "Cf" else " "
        return self[code]


_CHARACTERS = _Characters()


def words(text: str) -> list[str]:
    """The words of a text as they are compared."""
    plain = unicodedata.normalize("NFKC", html.unescape(text)).casefold()
    return unicodedata.normalize("NFKC", plain).translate(_CHARACTERS).split()


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
    for row in train:
        if row.id in ids:
            best[row.id, MULTIPLE, row.id] = Overlap(row.id, MULTIPLE, row.id, MULTIPLE, "id", 1.0)
        for found in index.like(row, threshold):
            key = (found.id, found.lang, found.train_id)
            if key not in best or _strength(found) > _strength(best[key]):
                best[key] = found
    return [best[key] for key in sorted(best)]


def _strength(row: Overlap) -> tuple[bool, float]:
    return row.kind == "exact", row.share


class _Hashes(dict[str, int]):
    """A hash of 64 bits of each word, which is the same in every process."""

    def __missing__(self, word: str) -> int:
        digest = blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self[word] = int.from_bytes(digest)
        return self[word]


class _Index:
    """The evaluation prompts by the hashes of their n-grams and of their whole texts.

    Memory is 12 bytes per n-gram and a hash per word that occurs.
    """

    def __init__(self, heldout: Sequence[Prompt], n: int) -> None:
        self.heldout, self.n = heldout, n
        self.hashes = _Hashes()
        texts = [self._hashed(row) for row in heldout]
        self.whole: dict[bytes, list[int]] = {}
        for place, text in enumerate(texts):
            if len(text):
                self.whole.setdefault(text.tobytes(), []).append(place)
        grams = [self._grams(text) for text in texts]
        self.sizes = np.array([len(own) for own in grams], np.int64)
        flat = np.concatenate([*grams, np.empty(0, np.uint64)])
        owners = np.repeat(np.arange(len(grams), dtype=np.int32), self.sizes)
        order = np.argsort(flat, kind="stable")
        self.flat, self.owners = flat[order], owners[order]

    def like(self, row: Prompt, threshold: float) -> Iterator[Overlap]:
        """The evaluation prompts that a training prompt is like."""
        text = self._hashed(row)
        same = self.whole.get(text.tobytes(), [])
        for place in same:
            yield self._overlap(place, row, "exact", 1.0)
        places, counts = self._shared(self._grams(text))
        shares = counts / self.sizes[places]
        for k in np.flatnonzero(shares >= threshold):
            if places[k] not in same:
                yield self._overlap(int(places[k]), row, "ngram", float(shares[k]))

    def _shared(self, grams: Hashes) -> tuple[Places, Places]:
        """The evaluation prompts that have some of these n-grams, and how many."""
        first = np.searchsorted(self.flat, grams, "left")
        hit = first < len(self.flat)
        hit[hit] = self.flat[first[hit]] == grams[hit]
        if not hit.any():
            return np.empty(0, np.int64), np.empty(0, np.int64)
        last = np.searchsorted(self.flat, grams[hit], "right")
        spans = zip(first[hit], last, strict=True)
        owners = np.concatenate([self.owners[start:end] for start, end in spans])
        places, counts = np.unique(owners, return_counts=True)
        return places, counts

    def _overlap(self, place: int, row: Prompt, kind: str, share: float) -> Overlap:
        own = self.heldout[place]
        return Overlap(own.id, own.lang, row.id, row.lang, kind, share)

    def _hashed(self, row: Prompt) -> Hashes:
        """The hashes of the words that the user says in a prompt; a system prompt is many prompts' own."""
        said = [turn.content for turn in row.before if turn.role == "user"]
        found = [self.hashes[word] for word in words("\n".join([*said, row.prompt]))]
        return np.array(found, np.uint64)

    def _grams(self, text: Hashes) -> Hashes:
        """The different hashes of all runs of n words."""
        size = len(text) - self.n + 1
        if size < 1:
            return np.empty(0, np.uint64)
        grams = np.zeros(size, np.uint64)
        for k in range(self.n):
            grams = grams * _FACTOR + text[k : k + size]
        found: Hashes = np.unique(grams)
        return found
