"""The report's part on languages: which one answers are in, by the one asked, and a second opinion."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from croco.fidelity import has_words
from croco.records import Languages
from croco.report.confusion import confusion_plot
from croco.report.page import Section
from croco.report.parts import Part
from croco.spoken import right
from croco.stage import Sealed

#: Languages that nobody asked for and that are shown by name; the others are "other".
NAMED, OTHER, CANNOT_TELL = 4, "other", "cannot tell"
#: The gate's part of a reward.
GATE = "language"
#: Why there is no word-level pass rate.
LATIN = "written in Latin letters, so that an English word cannot be told from others"

#: Asked language -> answered language -> answers.
Confusion = dict[str, Counter[str]]


def languages_part(inputs: Mapping[str, Sealed], recipe: dict[str, Any]) -> Part:
    """The part for all sides whose answers' languages are known, base first."""
    rows: dict[str, list[Languages]] = {
        name.removesuffix(".language"): list(sealed.rows())
        for name, sealed in inputs.items()
        if name.endswith(".language")
    }
    asked = sorted({row.lang for own in rows.values() for row in own})
    found = {side: confusion(own, asked) for side, own in rows.items()}
    columns = _columns(found, asked)
    merged = {side: _merged(own, columns) for side, own in found.items()}
    plots = {
        side: confusion_plot(own, columns, f"Languages of the answers of {side}", f"confusion-{k}")
        for k, (side, own) in enumerate(merged.items())
    }
    figures = {
        "identifier": recipe["evaluate"]["identifier"],
        "second_identifier": recipe["evaluate"].get("second_identifier"),
        "sides": {side: _figures(own, found[side]) for side, own in rows.items()},
        "no_word_pass_rate": {lang: LATIN for lang in asked if not has_words(lang)},
    }
    if gate := gated(inputs, recipe):
        figures["gate"] = gate
    values = figures | {"columns": columns, "tables": merged}
    section = Section("confusion", "Languages of answers", "languages.html.jinja", values, plots)
    return Part("languages", figures, section)


def gated(inputs: Mapping[str, Sealed], recipe: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the reward's gate saw, by stage and language: answers, and those whose language it could not
    tell and that lost nothing. Nothing where there is no gate."""
    found: dict[str, dict[str, Any]] = {}
    if not (recipe.get("reward") or {}).get("gate"):
        return found
    for name, sealed in inputs.items():
        if name.rpartition(".")[2].partition("-")[0] != "score":
            continue
        own: dict[str, Any] = {}
        for row in sealed.rows():
            shares = row.parts.get(GATE, [])
            counts = own.setdefault(row.lang, {"answers": 0, "cannot_tell": 0})
            counts["answers"] += len(shares)
            counts["cannot_tell"] += sum(map(math.isnan, shares))
        found[name] = dict(sorted(own.items()))
    return found


def confusion(rows: Iterable[Languages], asked: Sequence[str]) -> Confusion:
    """How many answers are in which language, by the language that was asked; "cannot tell" is none.

    What is an asked language but for its region or script counts as that one, its own row's first.
    """
    table: Confusion = {}
    for row in rows:
        own = table.setdefault(row.lang, Counter())
        own.update(_column(found, row.lang, asked) for found in row.languages)
    return {lang: table[lang] for lang in sorted(table)}


def _column(found: str | None, lang: str, asked: Sequence[str]) -> str:
    if found is None:
        return CANNOT_TELL
    return next((one for one in (lang, *asked) if right(found, one)), found)


def _columns(tables: Mapping[str, Confusion], asked: Sequence[str]) -> list[str]:
    """The asked languages, then the most frequent others, one column for the rest, and one for answers
    whose language cannot be told."""
    others: Counter[str] = Counter()
    for table in tables.values():
        for own in table.values():
            others.update({lang: n for lang, n in own.items() if lang not in asked})
    last = [CANNOT_TELL] if others.pop(CANNOT_TELL, 0) else []
    ordered = sorted(others, key=lambda lang: (-others[lang], lang))
    return [*asked, *ordered[:NAMED], *([OTHER] if len(ordered) > NAMED else []), *last]


def _merged(table: Confusion, columns: Sequence[str]) -> dict[str, dict[str, int]]:
    merged = {}
    for lang, own in table.items():
        row = {column: own[column] for column in columns if column != OTHER}
        rest = own.total() - sum(row.values())
        merged[lang] = row | ({OTHER: rest} if OTHER in columns else {})
    return merged


def _figures(rows: Sequence[Languages], table: Confusion) -> dict[str, Any]:
    found = {}
    for lang, own in table.items():
        answers = [row for row in rows if row.lang == lang]
        lines = [one for row in answers for one in row.lines]
        found[lang] = {
            "answers": own.total(),
            "cannot_tell": own[CANNOT_TELL],
            "second_cannot_tell": sum(one is None for row in answers for one in row.second),
            "answered": {one: {"count": n, "share": n / own.total()} for one, n in _ranked(own)},
            "without_long_line": sum(one is None for one in lines),
            "passing_lines": _mean([one for one in lines if one is not None]),
            "identifiers_agree": _agreement(answers),
        }
    return found


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _agreement(rows: Iterable[Languages]) -> float | None:
    """How often both identifiers name the same language where both can tell; None where there is one
    alone."""
    return _mean(
        [
            float(bool(right(one, other)))
            for row in rows
            if row.second
            for one, other in zip(row.languages, row.second, strict=True)
            if one is not None and other is not None
        ]
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
