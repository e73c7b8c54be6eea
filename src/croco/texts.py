"""When a text is empty, and when two texts are one.

Format characters (zero-width spaces, byte order marks, marks of direction) and control characters are no
text, and a letter with its accent is one letter, written as one character (NFC) or as two (NFD).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

#: What shows nothing besides format characters and white space: fillers of Hangul, the blank of Braille,
#: the joiner of graphemes, inherent vowels of Khmer, and selectors of variants.
_UNSEEN = (
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, range(0xFE00, 0xFE10)))
    + "".join(map(chr, range(0xE0100, 0xE01F0)))
)
_UNSEEN_SET = frozenset(_UNSEEN)
#: Control characters of ASCII that are no white space.
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]")


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: white space, format and control characters alone."""
    return not any(map(_is_seen, text))


def same_text(text: str) -> str:
    """A key that is equal for texts that are one: composed, and without what shows nothing.

    White space stays inside a text, not around it.
    """
    if text.isascii() and not _CONTROLS.search(text):
        return text.strip()
    seen = "".join(one for one in text if one.isspace() or _is_seen(one))
    return unicodedata.normalize("NFC", seen).strip()


def same_texts(texts: pa.StringArray) -> pa.StringArray:
    """The keys of many texts; most are their own, and are not looked at one by one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    odd = pc.fill_null(pc.match_substring_regex(texts, _composed_otherwise()), False)
    keys = pc.utf8_trim_whitespace(texts)
    if not pc.any(odd).as_py():
        return keys
    own = [same_text(text) for text in texts.filter(odd).to_pylist()]
    return pc.replace_with_mask(keys, odd, pa.array(own, texts.type))


def _is_seen(character: str) -> bool:
    return not (
        character.isspace()
        or character in _UNSEEN_SET
        or unicodedata.category(character) in ("Cf", "Cc")
    )


@lru_cache(maxsize=1)
def _composed_otherwise() -> str:
    """A pattern that finds what the key of a text may lack or compose: a superset, by single characters."""
    ranges: list[list[int]] = []
    for code in (*range(0x80, 0x3400), *range(0xF900, 0x10000), *range(0x10000, 0x30000)):
        one = chr(code)
        if _is_composed(one):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    parts = "".join(f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in ranges)
    # Control characters but the white space that Arrow knows.
    return f"[\\x00-\\x08\\x0e-\\x1f\\x7f-\\x9f\\p{{M}}\\p{{Cf}}{parts}]"


def _is_composed(character: str) -> bool:
    jamo = "\u1100" <= character <= "\u11ff"
    return jamo or character in _UNSEEN_SET or not unicodedata.is_normalized("NFC", character)
