"""Language identifiers: py3langid, heliport, and one for the fake engine's texts.

All give BCP-47 primary tags, Norwegian Bokmål and Nynorsk both as `no`, and `und` for a text in no
language, such as an empty one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

Ranking = list[tuple[str, float]]
UNDETERMINED: Ranking = [("und", 1.0)]
#: What identifiers call a text without language, or one language under several codes.
RENAMED = {"zxx": "und", "nb": "no", "nn": "no"}


class Py3Langid:
    """py3langid's probabilities over its 130 languages, which sum to one."""

    def __init__(self) -> None:
        from py3langid import langid

        # The module's own `rank` gives scores and holds one identifier for all; this one is ours.
        known: Any = langid
        self._model = known.LanguageIdentifier.from_model_file(known.MODEL_FILE, norm_probs=True)

    def identify(self, texts: Sequence[str]) -> list[Ranking]:
        """For each text its likely languages with probabilities, the likeliest first."""
        return [
            _ranking(self._model.rank(text)) if text.strip() else UNDETERMINED for text in texts
        ]


class Heliport:
    """heliport (HeLI), with the ten best of its 220 languages; their shares are not calibrated.

    HeLI scores a text by the mean over its words of -log10 p(word | language). A share is
    10 ** (-score * sqrt(words)), normalised: words count, but not as if they were independent.
    """

    CANDIDATES = 10

    def __init__(self) -> None:
        import heliport

        known: Any = heliport
        self._model = known.Identifier()

    def identify(self, texts: Sequence[str]) -> list[Ranking]:
        """For each text its likely languages with shares, the likeliest first."""
        return [self._shares(text) if text.strip() else UNDETERMINED for text in texts]

    def _shares(self, text: str) -> Ranking:
        scores = self._model.identify_topk_with_score(text, self.CANDIDATES)
        sharpness = math.sqrt(len(text.split())) * math.log(10)
        best = min(score for _, score in scores)
        weights = [(tag, math.exp((best - score) * sharpness)) for tag, score in scores]
        total = sum(weight for _, weight in weights)
        return _ranking((_primary(tag), weight / total) for tag, weight in weights)


#: The fake engine's words; an answer has them as `es:pan`.
FAKE_WORDS = ("sol", "mar", "pan", "luz", "rio", "sal", "tren", "flor", "nube", "miel")


class FakeIdentifier:
    """Reads the fake engine's words, such as `es:pan`: a language's probability is its share.

    Without punctuation, as lines are identified, that word is `espan`.
    """

    def identify(self, texts: Sequence[str]) -> list[Ranking]:
        """For each text its languages, the most frequent first; `und` where no word has a prefix."""
        return [self._shares(text) for text in texts]

    def tells(self, text: str) -> bool:
        """True: one such word says it all, and a text without any is in no language."""
        return True

    def _shares(self, text: str) -> Ranking:
        counts = Counter(tag for tag in map(_prefix, text.split()) if tag)
        total = counts.total()
        return _ranking((tag, count / total) for tag, count in counts.items()) or UNDETERMINED


def _prefix(word: str) -> str:
    tag, colon, _ = word.partition(":")
    if colon:
        return tag
    return next((tag.removesuffix(known) for known in FAKE_WORDS if tag.endswith(known)), "")


def _ranking(found: Iterable[tuple[str, float]]) -> Ranking:
    """Languages with probabilities, those of one language summed, the likeliest first."""
    shares: dict[str, float] = {}
    for tag, share in found:
        tag = RENAMED.get(tag, tag)
        shares[tag] = shares.get(tag, 0.0) + float(share)
    return sorted(shares.items(), key=lambda item: (-item[1], item[0]))


@lru_cache(maxsize=1024)
def _primary(tag: str) -> str:
    """An ISO 639-3 code, perhaps with a script (`spa_latn`), as a BCP-47 primary tag (`es`)."""
    import langcodes

    code = tag.partition("_")[0]
    return langcodes.standardize_tag(code).partition("-")[0] if code != "zxx" else code
