"""What a translation must keep as it is: code, LaTeX, placeholders and addresses in a text."""

from __future__ import annotations

import re

#: Stands for each character of a span in a masked text; no letter, digit, space or punctuation.
MASK = "\ufffc"

_FENCE = r"(?m:^)[^\S\n]*(?P<fence>```+|~~~+)[\s\S]*?(?:\n[^\S\n]*(?P=fence)|\Z)"
_INLINE = r"(?<!`)(?P<tick>`+)(?!`)(?:(?!\n\s*\n)[\s\S])+?(?<!`)(?P=tick)(?!`)"

# In a pair of dollars the inner sides are no spaces and no word goes on outside. "$5 (or 10$)" is
# money: an amount that a word follows.
_DOLLARS = r"(?<![\w\\$])\$(?![\s$])(?!\d[\d.,]*\s+\(?[^\W\d_]{2})[^$\n]*?(?<![\s\\])\$(?![\w$])"
# Bounded, so that time grows with a text's length alone: a model may write any number of beginnings.
_LATEX = "|".join(
    [
        r"\\begin\{(?P<env>[A-Za-z]+\*?)\}[\s\S]{0,3000}?\\end\{(?P=env)\}",
        r"(?<!\\)\$\$[\s\S]{1,3000}?\$\$",
        r"\\\[[\s\S]{1,3000}?\\\]",
        r"\\\([\s\S]{1,3000}?\\\)",
        _DOLLARS,
    ]
)

_ADDRESS = "|".join(
    [
        r"\b(?:https?|ftp)://[^\s<>\"'`]*[^\s<>\"'`.,;:!?)\]}*]",
        r"\bwww\.[\w-]+\.[^\s<>\"'`]*[^\s<>\"'`.,;:!?)\]}*]",
        r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
    ]
)

# A bare word in a tag would make one of "x<y and z>w", so attributes need a value.
_TAG = r"</?[A-Za-z][\w:-]*(?:\s+[\w:-]+\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s<>\"']+))*\s*/?>"
_PLACEHOLDER = "|".join(
    [
        r"\{\{[^{}\n]*\}\}",
        r"\$\{[^{}\n]*\}",
        r"\{[\w.:\[\]-]*\}",
        r"(?<![\d%])%(?:\(\w+\)|\d+\$)?[-+#0]{0,5}\d{0,9}(?:\.\d{1,9})?[sdifgxr](?!\w)",
        _TAG,
    ]
)

_SPAN = re.compile(
    f"(?P<code>{_FENCE}|{_INLINE})|(?P<latex>{_LATEX})"
    f"|(?P<address>{_ADDRESS})|(?P<placeholder>{_PLACEHOLDER})"
)


def spans(text: str) -> dict[str, list[str]]:
    """The spans of a text by kind: `code`, `latex`, `address`, `placeholder`, in their order."""
    found: dict[str, list[str]] = {"code": [], "latex": [], "address": [], "placeholder": []}
    for match in _SPAN.finditer(text):
        found[_kind(match)].append(match[0])
    return found


def masked(text: str) -> str:
    """The text, as long as it was, with every span as `MASK`, or as newlines where it spans lines."""
    return _SPAN.sub(lambda match: ("\n" if "\n" in match[0] else MASK) * len(match[0]), text)


def prose(text: str) -> str:
    """The text without its spans: what a translation is about."""
    return masked(text).replace(MASK, " ")


def _kind(match: re.Match[str]) -> str:
    return next(kind for kind in ("code", "latex", "address", "placeholder") if match[kind])
