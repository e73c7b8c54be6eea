"""Is a text in the language that was asked for: yes, no, or it cannot be told.

What holds too little language says nothing of the language it is in: a number, a name, code, an address, an
emoji, one short word. Such a text is neither right nor wrong, has no share, and is counted apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from croco import prose
from croco.languages import LanguageIdentifier, same_language
from croco.texts import is_blank

#: Where the asked language is the likeliest, its share counts as half: how sure an identifier is of a short
#: text depends on how many close relatives of the language it knows.
LIKELIEST = 0.5
#: The language of an empty text.
NONE = "und"


@dataclass(frozen=True, slots=True)
class Spoken:
    """What an identifier says of a text that was asked for in a language.

    `language` is the likeliest one, `und` where the text is empty; `share` is the asked one's, from 0 to 1;
    `right` says whether the likeliest is the asked one. If it cannot be told they are None, NaN
    and None.
    """

    language: str | None
    share: float
    right: bool | None

    @property
    def level(self) -> float:
        """What thresholds are compared with: the share, at least `LIKELIEST` where the text is right."""
        return max(self.share, LIKELIEST) if self.right else self.share

    def reaches(self, threshold: float) -> bool | None:
        """Whether the text is in the language by a threshold of the share; None: it cannot be told."""
        return None if self.right is None else self.level >= threshold


UNTOLD, EMPTY = Spoken(None, math.nan, None), Spoken(NONE, 0.0, False)


def hear(
    texts: Sequence[str], langs: Sequence[str], identifier: LanguageIdentifier
) -> list[Spoken]:
    """What `identifier` says of each text, which was asked for in the language beside it.

    An identifier with a method `tells(text)` decides itself which texts it can tell. It sees texts without
    code and addresses. Raises ValueError where texts and languages differ in number.
    """
    tells = getattr(identifier, "tells", prose.tells)
    found = [EMPTY if is_blank(text) else UNTOLD for text in texts]
    told = [k for k, text in enumerate(texts) if found[k] is UNTOLD and tells(text)]
    rankings = identifier.identify([prose.prose(texts[k]) for k in told])
    asked = dict(zip(range(len(texts)), langs, strict=True))
    for k, ranking in zip(told, rankings, strict=True):
        found[k] = _spoken(ranking, asked[k])
    return found


def right(language: str | None, lang: str) -> bool | None:
    """Whether an identified language is the asked one; None where it could not be told."""
    return None if language is None else same_language(language, lang)


def _spoken(ranking: Sequence[tuple[str, float]], lang: str) -> Spoken:
    share = sum(part for tag, part in ranking if same_language(tag, lang))
    language = ranking[0][0] if ranking else NONE
    return Spoken(language, share, same_language(language, lang))
