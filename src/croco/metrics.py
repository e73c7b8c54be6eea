"""Verdicts and answers to figures: tuned against base, and a reward against known preferences.

Every figure is per language and, as language "mul", the average over languages that were trained, with
another one for those that were not; its interval is of the difference, with prompts resampled whole
(see `croco.stats`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from croco import stats
from croco.records import (
    MULTIPLE,
    UNTRAINED,
    Audit,
    Key,
    Metric,
    Preference,
    Responses,
    Verdicts,
)

#: The values of one prompt, base's and tuned's, one per answer; NaN where an answer has none.
Sides = tuple[Sequence[float], Sequence[float]]


def compare(
    arm: str,
    verdicts: Sequence[Verdicts],
    base: Mapping[Key, Responses],
    tuned: Mapping[Key, Responses],
    seed: int,
    trained: Collection[str] | None = None,
) -> list[Metric]:
    """The arm's metrics by `scopes`: languages in sorted order, and averages; None: all were `trained`."""
    languages = sorted({row.lang for row in verdicts})
    found = []
    for name, sides_of in METRICS.items():
        sides = {row.key: sides_of(row, base[row.key], tuned[row.key]) for row in verdicts}
        for lang, own in scopes(languages, trained).items():
            chosen = {key: pair for key, pair in sides.items() if key[1] in own}
            answers = {key: tuned[key] for key in chosen}
            metric = _metric(arm, lang, name, chosen, answers, seed)
            found.append(replace(metric, trained=is_trained(own[0], trained)))
    return found


def scopes(languages: Collection[str], trained: Collection[str] | None) -> dict[str, list[str]]:
    """What a figure is given for, and the languages in it: each trained one and their average "mul",
    then each of the others and theirs."""
    found: dict[str, list[str]] = {}
    for average, wanted in ((MULTIPLE, True), (UNTRAINED, False)):
        own = [lang for lang in sorted(languages) if is_trained(lang, trained) == wanted]
        found |= {lang: [lang] for lang in own} | ({average: own} if own else {})
    return found


def is_trained(lang: str, trained: Collection[str] | None) -> bool:
    """Whether a language is among the `trained` ones; None: all are."""
    return trained is None or lang in trained


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


def audit(
    pairs: Sequence[Preference], chosen: Sequence[float], rejected: Sequence[float], seed: int
) -> list[Audit]:
    """A reward's accuracy per language (flaw "") and per language and flaw, ties as half.

    `chosen` and `rejected` are the rewards of the pairs, in their order. Pairs of one id count as
    one cluster, in the accuracy as in what "the longer answer, in characters, is better" gets.
    """
    rows = list(zip(pairs, chosen, rejected, strict=True))
    found = []
    for lang in sorted({pair.lang for pair in pairs}):
        spoken = [row for row in rows if row[0].lang == lang]
        found.append(_audit(lang, "", spoken, seed))
        for flaw in sorted({pair.flaw for pair, _, _ in spoken} - {""}):
            found.append(_audit(lang, flaw, [row for row in spoken if row[0].flaw == flaw], seed))
    return found


def _audit(
    lang: str, flaw: str, rows: Sequence[tuple[Preference, float, float]], seed: int
) -> Audit:
    pairs = [pair for pair, _, _ in rows]
    chosen, rejected = [row[1] for row in rows], [row[2] for row in rows]
    ids = [pair.id for pair in pairs]
    accuracy = stats.accuracy_interval(chosen, rejected, ids, seed)
    longer = stats.preferred([len(p.chosen) for p in pairs], [len(p.rejected) for p in pairs])
    margins = [one - other for one, other in zip(chosen, rejected, strict=True)]
    return Audit(
        lang=lang,
        flaw=flaw,
        accuracy=accuracy.mean,
        ci=[accuracy.low, accuracy.high],
        longer_wins=stats.mean_of_means(stats.grouped(longer, ids)),
        mean_margin=stats.mean_of_means(stats.grouped(margins, ids)),
        n=len(rows),
    )
