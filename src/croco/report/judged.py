"""The report's part on judged comparisons: figures per arm and language, plots, and paired arms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from croco.comparing import ALL_TOLD, NO_TERM, Comparison, Judged
from croco.paired import paired_arms
from croco.records import MULTIPLE, UNTRAINED
from croco.report.lengths import length_plot, rate_plot
from croco.report.page import Section
from croco.report.parts import Part
from croco.report.summary import lang_name
from croco.stats import Interval

AVERAGES = (MULTIPLE, UNTRAINED)


def comparisons_part(
    arms: Mapping[str, Sequence[Comparison]], found: Mapping[str, Mapping[str, Judged]], seed: int
) -> Part:
    """The part for some arms' comparisons with the same base, and what `judged` found of each."""
    figures: dict[str, Any] = {arm: _figures(own) for arm, own in found.items()}
    pairs = [
        row
        for one, other in combinations(arms, 2)
        for row in _paired(one, other, arms, found, seed)
    ]
    plots = {f"rates-{k}": rate_plot(own, f"rates-{k}") for k, own in enumerate(found.values())}
    plots |= {
        f"lengths-{k}": length_plot(rows, f"lengths-{k}") for k, rows in enumerate(arms.values())
    }
    values = {"arms": figures, "paired": pairs, "averages": [lang_name(one) for one in AVERAGES]}
    section = Section("judged", "Judged comparisons", "judged.html.jinja", values, plots)
    return Part("comparisons", figures | ({"paired": pairs} if pairs else {}), section)


def _figures(found: Mapping[str, Judged]) -> dict[str, Any]:
    """An arm's figures as JSON; statements stand once, with the languages they are true of."""
    notes: dict[str, list[str]] = {}
    for lang, own in reversed(list(found.items())):  # what is true of all comes first
        averaged = lang in AVERAGES
        for note in own.notes:
            if note.startswith((NO_TERM, ALL_TOLD)) and not averaged:
                continue  # the average names the languages
            notes.setdefault(note, []).append(lang_name(lang))
    return {
        "languages": {lang_name(lang): _language(own) for lang, own in found.items()},
        "notes": [
            note if "average" in langs else f"{', '.join(reversed(langs))}: {note}"
            for note, langs in notes.items()
        ],
    }


def _language(own: Judged) -> dict[str, Any]:
    averaged = {"languages": [*own.languages], "lacking": [*own.lacking]}
    return (averaged if own.lang in AVERAGES else {}) | {
        "prompts": own.prompts,
        "comparisons": own.comparisons,
        "wins": own.wins,
        "ties": own.ties,
        "losses": own.losses,
        "unparseable": own.unparseable,
        "missing": own.missing,
        "left_out": dict(zip(("base", "tuned"), own.left_out, strict=True)),
        "win_rate": _interval(own.win_rate),
        "in_language": _interval(own.in_language)
        | {
            "share": known(own.in_language_share.mean),
            "share_ci": [known(own.in_language_share.low), known(own.in_language_share.high)],
            "prompts": own.in_language_prompts,
        },
        "language_alone": _interval(own.language_alone),
        "length_controlled": _interval(own.length_controlled)
        | {"length_term": known(own.length_term)},
        "language_adjusted": _interval(own.language_adjusted),
        "language_unknown": own.language_unknown,
        "cannot_tell": own.cannot_tell,
        "flip_rate": own.flip_rate,
        "reversal_rate": own.reversal_rate,
        "first_wins": own.first_wins,
        "prompts_needed": {str(points): n for points, n in own.needed.items()},
    }


def _paired(
    one: str,
    other: str,
    arms: Mapping[str, Sequence[Comparison]],
    figures: Mapping[str, Mapping[str, Judged]],
    seed: int,
) -> Iterator[dict[str, Any]]:
    """A row per scope of both arms, averages first: over the languages in which both were judged."""
    shared = [lang for lang in figures[one] if lang in figures[other]]
    for scope in sorted(shared, key=lambda lang: lang not in AVERAGES):
        languages = {*figures[one][scope].languages} & {*figures[other][scope].languages}
        sides = [[row for row in arms[arm] if row.lang in languages] for arm in (one, other)]
        yield {"one": one, "other": other, "lang": lang_name(scope)} | _difference(
            sides[0], sides[1], seed
        )


def _difference(
    one: Sequence[Comparison], other: Sequence[Comparison], seed: int
) -> dict[str, Any]:
    found = paired_arms(one, other, seed)
    return {
        "languages": sorted({row.lang for row in one}),
        "rates": [known(found.one), known(found.other)],
        "difference": known(found.difference.mean),
        "ci": [known(found.difference.low), known(found.difference.high)],
        "p": known(found.p_value),
        "prompts": found.prompts,
        "notes": found.notes,
    }


def _interval(found: Interval) -> dict[str, Any]:
    return {"rate": known(found.mean), "ci": [known(found.low), known(found.high)]}


def known(value: float) -> float | None:
    """The value, or None where there is none: JSON has no NaN."""
    return value if math.isfinite(value) else None
