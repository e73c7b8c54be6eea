"""The numbers of a text and of its translation: digits, minus signs and percent signs."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

#: Marks of direction, which Arabic and Hebrew put around signs.
_DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
#: A hyphen, dash or minus sign before a number or its currency, not between two numbers (5-10) and not in
#: a word (COVID-19).
_MINUS = (
    "(?<![\\w)\\].%])[-\u2010-\u2013\u2212\ufe63\uff0d][\u00a0\u2009\u202f]?"
    "[$\u00a3\u00a5\u20a9\u20ac\u20b9]?"
)
_PERCENT = "[%\u066a\uff05\ufe6a]"
_NUMBER = re.compile(
    f"(?P<minus>{_MINUS})?(?P<before>{_PERCENT}[ \u00a0]?)?"
    "(?P<digits>(?:(?<![\\w.,])[.,\u066b])?"
    "\\d+(?:[.,:'\u2019\u066b\u066c]\\d+|(?<!\\d\\d\\d\\d)[ \u00a0\u2009\u202f]\\d{3}(?!\\d))*)"
    f"(?P<after>[ \u00a0\u202f]?{_PERCENT})?"
)
#: Words that say what a sign says; a translation may have one in place of the other.
_MINUS_WORDS = re.compile(
    r"\b(?:minus|moins|menos|meno|miinus|minws|negativ\w*|négati\w*|lúide|míneas|nieqes|eksi|mínusz|âm|минус|мінус"
    r"|μείον|πλην|ऋण)\b|负|負|零下|氷点下|マイナス|마이너스|영하|ลบ|منفي|ناقص|سالب|منفی|מינוס|dưới không",
    re.IGNORECASE,
)
_PERCENT_WORDS = re.compile(
    r"per ?cent|por cien|por cento|pour ?cent|prozent|pro[cs]en|protsen|faoin g?céad|y cant|fil-mija|yüzde"
    r"|százalék|persen|phần trăm|процен|відсот|τοις εκατ|百分|パーセント|퍼센트|प्रतिशत|फीसदी|เปอร์เซ็นต์|ร้อยละ"
    r"|المئة|المائة|درصد|אחוז",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Number:
    """A number: its digits with a point before decimals, and whether it is negative, and a percentage."""

    digits: str
    negative: bool
    percent: bool

    def __str__(self) -> str:
        return f"{'-' * self.negative}{self.digits}{'%' * self.percent}"


def differing(source: str, text: str) -> tuple[list[str], list[str]]:
    """The numbers that `source` alone has, and those that `text` alone has.

    A sign is no difference where the other text has a word for it.
    """
    one, other = list(_numbers(source)), list(_numbers(text))
    for sign, words in (("negative", _MINUS_WORDS), ("percent", _PERCENT_WORDS)):
        signed, other_signed = (
            Counter(n.digits for n in side if getattr(n, sign)) for side in (one, other)
        )
        if (signed - other_signed).total() <= len(words.findall(text)) and (
            other_signed - signed
        ).total() <= len(words.findall(source)):
            one, other = (
                [replace(n, **{sign: False}) for n in side]  # type: ignore[arg-type]
                for side in (one, other)
            )
    found, kept = Counter(map(str, one)), Counter(map(str, other))
    return list((found - kept).elements()), list((kept - found).elements())


def _numbers(text: str) -> Iterator[Number]:
    for found in _NUMBER.finditer(_DIRECTIONS.sub("", text)):
        percent = bool(found["before"] or found["after"])
        yield Number(_plain(found["digits"]), bool(found["minus"]), percent)


def _plain(written: str) -> str:
    """A number without digit groups and with a point: `1,000.5`, `1.000,5`, `1 000,5` are one.

    A single separator before three digits parts groups, so 1.000 and 1,000 are one as well.
    """
    if not written[0].isdigit():  # .5 is 0.5
        written = f"0{written}"
    parts = re.split(r"\D", written)
    marks = re.findall(r"\D", written)
    digits = ["".join(str(unicodedata.digit(d)) for d in part) for part in parts]
    one_group = len(set(marks)) == 1 and (len(marks) > 1 or len(digits[-1]) == 3)
    if not marks or one_group:
        return "".join(digits)
    return "".join(digits[:-1]) + "." + digits[-1]
