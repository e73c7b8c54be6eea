"""Patterns over what models write: regular expressions whose time grows with the text's length alone.

They run on RE2, which knows neither looking around nor references to what was found. A dot stands for
line breaks too, and `\\d`, `\\w` and `\\s` for those of all scripts, as in Python; `\\b` knows ASCII words
alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

#: What Python means by these, as the inside of a bracket expression.
CLASSES = {"d": r"\p{Nd}", "w": r"\p{L}\p{N}_", "s": r"\s\x0b\x1c-\x1f\x{85}\p{Z}"}
#: What they exclude, likewise, but for characters that Unicode has not assigned.
EXCLUDED = {
    "d": r"\P{Nd}",
    "w": r"\p{M}\p{S}\p{Z}\p{C}\p{Pd}\p{Ps}\p{Pe}\p{Pi}\p{Pf}\p{Po}"
    r"\x{203f}\x{2040}\x{2054}\x{fe33}\x{fe34}\x{fe4d}-\x{fe4f}\x{ff3f}",
    "s": r"\p{L}\p{M}\p{N}\p{P}\p{S}\p{Cf}\p{Co}\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f",
}


def found_in(pattern: str, text: str) -> list[str]:
    """The text of the pattern's one group, wherever the pattern is found."""
    # As Python has it, `$` is found before a line break at the end.
    readable = text.strip().encode(errors="replace").decode()
    return [part or "" for part in compiled(pattern).findall(readable)]


@lru_cache(maxsize=64)
def compiled(pattern: str) -> Any:
    """The pattern, ready to run; ValueError says why RE2 cannot compile it."""
    import re2

    options = re2.Options()
    options.log_errors, options.dot_nl = False, True
    try:
        return re2.compile(_of_all_scripts(pattern), options)
    except re2.error as error:
        reason = error.args[0]
        said = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        raise ValueError(f"{pattern!r} is no regular expression that RE2 knows ({said})") from error
    except UnicodeEncodeError as error:
        raise ValueError(f"{pattern!r} holds half a character") from error


def _of_all_scripts(pattern: str) -> str:
    """The pattern with `\\d` and the like as Python means them: RE2's own know ASCII alone."""
    made: list[str] = []
    inside, place = False, 0
    while place < len(pattern):
        one = pattern[place : place + 2] if pattern[place] == "\\" else pattern[place]
        if len(one) == 2:
            made.append(_escape(one[1], inside))
        elif one == "[" and not inside:
            inside = True
            # A bracket that comes first is a letter like others.
            one = next((o for o in ("[^]", "[]", "[^") if pattern.startswith(o, place)), one)
            made.append(one.replace("]", r"\]"))
        else:
            inside = inside and one != "]"
            made.append(one)
        place += len(one)
    return "".join(made)


def _escape(letter: str, inside: bool) -> str:
    """An escape as RE2 has it, outside of brackets or `inside`."""
    known = CLASSES.get(letter.lower())
    if known and letter.islower():
        return known if inside else f"[{known}]"
    if known:
        return EXCLUDED[letter.lower()] if inside else f"[^{known}]"
    return r"\z" if letter == "Z" and not inside else f"\\{letter}"
