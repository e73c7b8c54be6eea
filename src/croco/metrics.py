"""Verdicts and answers to figures: tuned against base.

Every figure is per language and, as language "mul", the average over languages; its interval is
of the difference, with prompts resampled whole (see `croco.stats`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from croco import stats
from croco.records import MULTIPLE, Key, Metric, Responses, Verdicts

#: The values of one prompt, base's and tuned's, one per answer; NaN where an answer has none.
Sides = tuple[Sequence[float], Sequence[float]]


def compare(
    arm: str,
    verdicts: Sequence[Verdicts],
    base: Mapping[Key, Responses],
    tuned: Mapping[Key, Responses],
    seed: int,
) -> list[Metric]:
    """The arm's metrics, per language in sorted order and then averaged over languages."""
    languages = sorted({row.lang for row in verdicts})
    found = []
    for name, sides_of in METRICS.items():
        sides = {row.key: sides_of(row, base[row.key], tuned[row.key]) for row in verdicts}
        for lang in [*languages, *([MULTIPLE] if languages else [])]:
            chosen = {key: pair for key, pair in sides.items() if lang in (key[1], MULTIPLE)}
            answers = {key: tuned[key] for key in chosen}
            found.append(_metric(arm, lang, name, chosen, answers, seed))
    return found


def _metric(
    arm: str,
    lang: str,
    name: str,
    sides: Mapping[Key, Sides],
    answers: Mapping[Key, Responses],
    seed: int,
) -> Metric:
    """One figure; `n` counts the tuned answers to the prompts that have a value on both sides."""
    known = {key: pair for key, pair in sides.items() if all(map(_any_known, pair))}
    before, after = _by_language(known, 0), _by_language(known, 1)
    found = stats.average_difference(before, after, seed)
    return Metric(
        arm=arm,
        lang=lang,
        metric=name,
        base=found.base,
        tuned=found.tuned,
        delta=found.delta.mean,
        ci=[found.delta.low, found.delta.high],
        n=sum(len(answers[key].texts) for key in known),
        prompts=found.clusters,
    )


def _any_known(values: Sequence[float]) -> bool:
    return not all(math.isnan(value) for value in values)


def _by_language(sides: Mapping[Key, Sides], which: int) -> dict[str, dict[str, Sequence[float]]]:
    table: dict[str, dict[str, Sequence[float]]] = {}
    for (prompt, lang), pair in sides.items():
        table.setdefault(lang, {})[prompt] = pair[which]
    return table


def _win_rate(row: Verdicts, base: Responses, tuned: Responses) -> Sides:
    return [0.5], [row.win_rate]


def _fidelity(row: Verdicts, base: Responses, tuned: Responses) -> Sides:
    return row.base_fidelity, row.tuned_fidelity


def _length(row: Verdicts, base: Responses, tuned: Responses) -> Sides:
    return [len(ids) for ids in base.token_ids], [len(ids) for ids in tuned.token_ids]


def _distinct(row: Verdicts, base: Responses, tuned: Responses) -> Sides:
    one, other = (
        [stats.distinct_n(text.split(), 2) for text in side.texts] for side in (base, tuned)
    )
    return one, other


def _finished(row: Verdicts, base: Responses, tuned: Responses) -> Sides:
    one, other = (
        [float(reason == "stop") for reason in side.finish_reasons] for side in (base, tuned)
    )
    return one, other


METRICS: dict[str, Callable[[Verdicts, Responses, Responses], Sides]] = {
    "win_rate": _win_rate,
    "language_fidelity": _fidelity,
    "mean_length": _length,
    "distinct_2": _distinct,
    "finished": _finished,
}
