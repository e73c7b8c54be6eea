"""What a translation must pass: pure functions of two texts, a ranking of languages and a count."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from croco.languages import same_language
from croco.settings import Checks
from croco.texts import is_blank
from croco.translation.numbers import differing
from croco.translation.spans import prose, spans

#: Fewer letters than this tell no language; a source of fewer characters has no telling length.
MIN_LETTERS = 20
MIN_LENGTH = 20
#: A translation that shares this much of its words with the source is the source.
COPIED = 0.9

_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class _Case:
    """What the checks look at."""

    checks: Checks
    source: str
    text: str
    source_lang: str
    target: str
    ranking: list[tuple[str, float]]
    unknown: int


def failed_checks(
    checks: Checks,
    source: str,
    text: str,
    source_lang: str,
    target: str,
    ranking: list[tuple[str, float]],
    unknown: int,
) -> dict[str, str]:
    """The checks that the translation `text` of `source` fails, in a fixed order, each with a reason.

    `ranking` holds the languages of `text` with shares, `unknown` counts the words left unknown.
    """
    if is_blank(source):
        return {}
    if is_blank(text):
        return {"empty": "the translation is empty"}
    case = _Case(checks, source, text, source_lang, target, ranking, unknown)
    reasons = ((label, check(case)) for label, check in CHECKS.items())
    return {label: reason for label, reason in reasons if reason}


def _language(case: _Case) -> str:
    return wrong_language(case.checks, case.text, case.target, case.ranking)


def wrong_language(checks: Checks, text: str, target: str, ranking: list[tuple[str, float]]) -> str:
    """Why a text is not in a language, or nothing: it is, or has too few letters to tell."""
    if _weight(filter(str.isalpha, prose(text))) < MIN_LETTERS:
        return ""
    share = sum(part for tag, part in ranking if same_language(tag, target))
    if share >= checks.threshold:
        return ""
    tag, part = max(ranking, key=lambda item: item[1], default=("und", 0.0))
    other = "" if same_language(tag, target) else f", and that of {tag} {part:.2f}"
    return f"the share of {target} is {share:.2f}, under {checks.threshold:g}{other}"


def _length(case: _Case) -> str:
    source, text = _weight(case.source.strip()), _weight(case.text.strip())
    checks = case.checks
    too_long = text > checks.max_length_ratio * max(source, MIN_LENGTH)
    too_short = source >= MIN_LENGTH and text < checks.min_length_ratio * source
    if not (too_long or too_short):
        return ""
    return (
        f"its length is {text / source:.2f} of the source's, outside "
        f"{checks.min_length_ratio:g} to {checks.max_length_ratio:g}"
    )


def _copied(case: _Case) -> str:
    if same_language(case.source_lang, case.target):  # British English may equal American
        return ""
    source, text = _words(case.source), _words(case.text)
    longer = max(source.total(), text.total())
    shared = (source & text).total()
    if not source or (shared < longer and (longer <= 3 or shared < COPIED * longer)):
        return ""
    return f"{shared} of {longer} words are the source's"


def _placeholders(case: _Case) -> str:
    def kept(text: str) -> list[str]:
        found = spans(text)
        return [*found["placeholder"], *found["address"]]

    return _differing("placeholders or addresses", kept, case)


def _numbers(case: _Case) -> str:
    return _said("numbers", *differing(prose(case.source), prose(case.text)))


def _code(case: _Case) -> str:
    return _differing("code", lambda text: [c.strip() for c in spans(text)["code"]], case)


def _latex(case: _Case) -> str:
    # White space means nothing in mathematics.
    return _differing(
        "LaTeX", lambda text: [" ".join(part.split()) for part in spans(text)["latex"]], case
    )


def _unknown(case: _Case) -> str:
    words = max(_words(case.text).total(), 1)
    share = min(case.unknown / words, 1.0)
    if share <= case.checks.max_unknown:
        return ""
    return f"{case.unknown} of {words} words are unknown"


#: In the order of the reasons; what is empty is looked at no further.
CHECKS: dict[str, Callable[[_Case], str]] = {
    "language": _language,
    "length": _length,
    "copied": _copied,
    "placeholders": _placeholders,
    "numbers": _numbers,
    "code": _code,
    "latex": _latex,
    "unknown": _unknown,
}


def _differing(what: str, kept: Callable[[str], list[str]], case: _Case) -> str:
    """Why two multisets differ, or nothing."""
    source, text = Counter(kept(case.source)), Counter(kept(case.text))
    return _said(what, list((source - text).elements()), list((text - source).elements()))


def _said(what: str, lost: list[str], new: list[str]) -> str:
    said = [f"{name}: {', '.join(some)}" for name, some in (("lost", lost), ("new", new)) if some]
    return f"{what} differ ({'; '.join(said)})" if said else ""


def _weight(characters: Iterable[str]) -> int:
    """How many characters, one of Chinese, Japanese or Korean as two: it says about as much."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in characters)


def _words(text: str) -> Counter[str]:
    return Counter(word.casefold() for word in _WORD.findall(prose(text)))
