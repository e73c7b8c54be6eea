"""Words of a text, in scripts that write no spaces between them as well.

There a word is taken to have as many characters as words have on average: what counts words and what looks
for repeated ones need no more, and cutting them apart would need a list of words for each language.
"""

from __future__ import annotations

import re

#: Words of a run that is looked for again.
RUN = 3
#: Scripts without spaces between words by their codes (ISO 15924), and the characters of a word in them:
#: jieba's Chinese words have 1.64 on average, fugashi's Japanese ones 1.73; those of Thai and its
#: neighbours, with the marks above and below letters, about four.
EASTERN, SOUTH_EASTERN = 1.6, 4.0
CHARACTERS_PER_WORD = dict.fromkeys(
    ["Hans", "Hant", "Hani", "Jpan", "Hira", "Kana", "Hrkt", "Bopo", "Yiii"], EASTERN
) | dict.fromkeys(
    ["Thai", "Laoo", "Khmr", "Mymr", "Tibt", "Lana", "Talu", "Tale", "Java", "Bali"], SOUTH_EASTERN
)

#: Chinese, Japanese, Bopomofo, Yi.
_EASTERN = (
    r"\u3005-\u3007\u3040-\u30ff\u3100-\u312f\u3400-\u9fff\ua000-\ua48f\uf900-\ufaff"
    r"\U00020000-\U0003ffff"
)
#: Thai, Lao, Tibetan, Myanmar, Khmer, Tai Le, New Tai Lue, Tai Tham, Balinese, Javanese, Myanmar's
#: extension: letters, marks and digits, not their punctuation.
_SOUTH_EASTERN = (
    r"\u0e01-\u0e3a\u0e40-\u0e4e\u0e50-\u0e59\u0e80-\u0eff\u0f00-\u0f03\u0f0b\u0f18-\u0fbc"
    r"\u1000-\u1049\u1050-\u109f\u1780-\u17d3\u17d7\u17dc-\u17e9\u1950-\u19df\u1a20-\u1a9f"
    r"\u1b00-\u1b59\ua980-\ua9c0\ua9d0-\ua9ff\uaa60-\uaa7f"
)
EASTERN_LETTER = re.compile(f"[{_EASTERN}]")
SOUTH_EASTERN_LETTER = re.compile(f"[{_SOUTH_EASTERN}]")
UNSPACED_LETTER = re.compile(f"[{_EASTERN}{_SOUTH_EASTERN}]")
_RUN = re.compile(f"([{_EASTERN}]+)|([{_SOUTH_EASTERN}]+)|([^{_EASTERN}{_SOUTH_EASTERN}]+)")


def words(text: str) -> list[str]:
    """The words of a text, to look for repeated ones among.

    They are what stands between spaces; where letters are written without them, all pieces of about a
    word's length, one from each letter on.
    """
    found: list[str] = []
    for piece in text.split():
        if not UNSPACED_LETTER.search(piece):
            found.append(piece)
            continue
        for eastern, south_eastern, other in _RUN.findall(piece):
            found += (
                [other]
                if other
                else _pieces(eastern, EASTERN) or _pieces(south_eastern, SOUTH_EASTERN)
            )
    return found


def repetition(text: str) -> float:
    """The share of a text's runs of three words that stood in it before; 0 for one without any."""
    found = words(text)
    runs = [tuple(found[k : k + RUN]) for k in range(len(found) - RUN + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def count_words(line: str) -> float:
    """How many words a text has."""
    eastern, south_eastern = (
        len(one.findall(line)) for one in (EASTERN_LETTER, SOUTH_EASTERN_LETTER)
    )
    others = UNSPACED_LETTER.sub(" ", line).split()
    return eastern / EASTERN + south_eastern / SOUTH_EASTERN + len(others)


def _pieces(run: str, characters: float) -> list[str]:
    size = min(round(characters), len(run))
    return [run[k : k + size] for k in range(len(run) - size + 1)] if run else []
