"""Texts as words that can be compared, whatever their case, accents, punctuation or spaces.

Unicode's compatibility forms (NFKD), case, accents, vowel points and HTML escapes make no difference; a
symbol is a word, and so is a character of a script without spaces.
"""

from __future__ import annotations

import html
import unicodedata

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
#: Letters whose accent is a stroke, which no normal form takes off.
_STROKES = dict(zip("øłđħŧɨı", "oldhtii", strict=True))
_TATWEEL = "\u0640"  # lengthens an Arabic word and says nothing


class _Accents(dict[int, str]):
    """What each character of a decomposed text becomes: accents and vowel points go, letters stay."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        gone = character == _TATWEEL or _is_accent(character)
        self[code] = "" if gone else _STROKES.get(character, character)
        return self[code]


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


def _is_accent(mark: str) -> bool:
    """Whether a mark is an accent (classes 200 and above) or a vowel point of Hebrew or Arabic (10 to 36).

    Vowel signs of other scripts, which are letters, have other classes.
    """
    place = unicodedata.combining(mark)
    return 10 <= place <= 36 or place >= 200


_ACCENTS, _CHARACTERS = _Accents(), _Characters()


def words(text: str) -> list[str]:
    """The words of a text as they are compared."""
    return [word for piece in html.unescape(text).split() for word in words_of_piece(piece)]


def words_of_piece(piece: str) -> list[str]:
    """The words in a piece of text without spaces."""
    plain = unicodedata.normalize("NFKD", piece).casefold()
    bare = unicodedata.normalize("NFKD", plain).translate(_ACCENTS)
    return unicodedata.normalize("NFC", bare).translate(_CHARACTERS).split()
