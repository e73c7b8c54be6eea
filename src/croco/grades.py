"""Numbers as judges write them: `8.5`, `8,5`, `8/10`, `**8**`, `8 out of 10`, in any script's digits."""

from __future__ import annotations

import re
import unicodedata

#: The least and the highest grade.
Bounds = tuple[float, float]

#: What stands around a number without a meaning: emphasis, quotes, brackets, and the sentence's end.
AROUND = " \t\r\n*_~`\"'()[]{}\\\u201c\u201d\u2018\u2019\u00ab\u00bb.,;:!\u3002\uff0c"
#: Words between a grade and the highest one.
OF = (
    "/",
    "out of",
    "of",
    "de",
    "von",
    "sur",
    "su",
    "di",
    "van",
    "av",
    "af",
    "iz",
    "\u0438\u0437",
    "\u062f\u0631",
)
_SIGNS = str.maketrans(
    {"[": " ", "]": " ", "\u066b": ".", "\u2212": "-", "\u2013": "-", "\u2044": "/", "\u2215": "/"}
)
_NUMBER = r"[0-9]+(?:[.,][0-9]+)?"
_OF = "|".join(map(re.escape, OF))
_GRADE = re.compile(rf"([-+]?{_NUMBER})(?: ?(?:{_OF}) ?({_NUMBER}))?", re.IGNORECASE)


def grade_in(text: str, bounds: Bounds | None = None) -> float:
    """The number that a text holds and nothing else.

    Raises ValueError, which says why, where it holds none, one out of `bounds`, or one of another scale:
    4/5 where the highest grade is 10. Without bounds a number of a scale is none.
    """
    plain = " ".join(_ascii_digits(text).translate(_SIGNS).split()).strip(AROUND)
    found = _GRADE.fullmatch(plain)
    if not found:
        raise ValueError(f"{text.strip()[:40]!r} is no number")
    grade, scale = _value(found[1]), found[2] and _value(found[2])
    if scale and (bounds is None or scale != bounds[1]):
        raise ValueError(f"{plain!r} is a grade of another scale")
    if bounds and not bounds[0] <= grade <= bounds[1]:
        raise ValueError(f"{plain!r} is not from {bounds[0]:g} to {bounds[1]:g}")
    return grade


def _value(written: str) -> float:
    whole, comma, rest = written.partition(",")
    if comma and len(rest) == 3:
        raise ValueError(f"{written!r} may be thousands or a fraction")
    return float(f"{whole}.{rest}" if comma else written)


def _ascii_digits(text: str) -> str:
    """The text with the digits of all scripts as 0 to 9, without format characters."""
    normal = unicodedata.normalize("NFKC", text)
    seen = (one for one in normal if unicodedata.category(one) != "Cf")  # marks of direction
    return "".join(str(unicodedata.decimal(one, one)) for one in seen)
