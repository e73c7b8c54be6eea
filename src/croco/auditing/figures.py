"""A language's figures: how often the reward is right, against simple rules, and what length is worth.

A pair is right where chosen has the higher reward; a tie is half right. Pairs of one id are one cluster.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from croco import stats
from croco.arrays import Floats
from croco.auditing.margins import calibration
from croco.records import Audited
from croco.stats import Interval

#: Both sides' values of a pair, of which the rule prefers the higher one.
Rule = Callable[[Audited], tuple[float, float]]

#: Below so many prompts a line through them has no spread to give an interval from.
FEWEST = 3
#: What differs by a smaller share than this does not differ.
ROUNDING = 1e-9


def of_language(rows: Sequence[Audited], seed: int) -> dict[str, Any]:
    """All figures that need no other language, and accuracies per flaw."""
    kinds = sorted({row.flaw for row in rows} - {""})
    rewards = _rewards(rows)
    spoken = _accuracy(rows, _language, seed)
    return of_pairs(rows, seed) | {
        "tied": sum(row.margin == 0 for row in rows),
        "over_longer_wins": _lead(rows, _length, seed),
        "without_gate": without_gate(rows, seed),
        "in_language_wins": known(spoken.mean),
        "in_language_wins_ci": bounds(spoken),
        "over_in_language_wins": _lead(rows, _language, seed),
        "in_language_decides": decides(rows, seed),
        "cannot_tell": sum(not _told(row) for row in rows),
        "chosen_longer": where(
            rows, lambda row: row.chosen_length > row.rejected_length, seed, "chosen is the longer"
        ),
        "chosen_shorter": where(
            rows, lambda row: row.chosen_length < row.rejected_length, seed, "chosen is the shorter"
        ),
        "calibration": calibration([row.margin for row in rows]),
        "mean_reward": float(rewards.mean()) if rewards.size else None,
        "reward_std": float(rewards.std()) if rewards.size else None,
        "length_slope": length_slope(rows, seed),
        "flaws": {
            kind: of_pairs([row for row in rows if row.flaw == kind], seed) for kind in kinds
        },
    }


def of_pairs(rows: Sequence[Audited], seed: int) -> dict[str, Any]:
    """Accuracy and margin, and what the rule "the longer answer wins" gets on the same pairs."""
    ids = [row.id for row in rows]
    own, longer = _accuracy(rows, _reward, seed), _accuracy(rows, _length, seed)
    return {
        "n": len(rows),
        "prompts": len(set(ids)),
        "accuracy": known(own.mean),
        "ci": bounds(own),
        "longer_wins": known(longer.mean),
        "longer_wins_ci": bounds(longer),
        "mean_margin": known(stats.mean_of_means(stats.grouped([r.margin for r in rows], ids))),
    }


def decides(rows: Sequence[Audited], seed: int) -> dict[str, Any]:
    """The pairs with one answer in the language: their share, how often it is chosen, and the reward's
    accuracy there."""
    decided = [
        row for row in rows if _told(row) and row.chosen_in_language != row.rejected_in_language
    ]
    rule = _accuracy(decided, _language, seed)
    return {
        "share": len(decided) / len(rows) if rows else None,
        "rule": known(rule.mean),
        "rule_ci": bounds(rule),
    } | figure(
        _accuracy(decided, _reward, seed), len(decided), "no pair has one answer in the language"
    )


def without_gate(rows: Sequence[Audited], seed: int) -> dict[str, Any]:
    """The accuracy of the reward before its language gates took anything."""
    gated = [row for row in rows if row.chosen_taken is not None]
    return figure(_accuracy(gated, _before_gate, seed), len(gated), "the reward has no gate")


def where(
    rows: Sequence[Audited], holds: Callable[[Audited], bool], seed: int, what: str
) -> dict[str, Any]:
    """The accuracy on those pairs where something holds."""
    chosen = [row for row in rows if holds(row)]
    return figure(_accuracy(chosen, _reward, seed), len(chosen), f"{what} in no pair")


def length_slope(rows: Sequence[Audited], seed: int) -> dict[str, Any]:
    """Standard deviations of the reward per doubling of the length, within prompts.

    The slope of a least-squares line of the margin over log2(chosen's length / rejected's): its
    intercept takes what chosen is better by, so the slope is length's own. The deviation is that of
    all rewards of these pairs.
    """
    doublings = np.array([_doublings(row) for row in rows])
    rewards = _rewards(rows)
    prompts = len({row.id for row in rows})
    why = ""
    if prompts < FEWEST:
        why = f"{prompts} prompts: a length term needs {FEWEST}"
    elif np.ptp(doublings) < ROUNDING:
        why = (
            "chosen and rejected stand in one ratio of lengths in every pair: the length term is not"
            " identifiable"
        )
    elif np.ptp(rewards) == 0:
        why = "all rewards are equal: the length term is not identifiable"
    if why:
        return figure(Interval(math.nan, math.nan, math.nan), len(rows), why)
    return figure(_slope(rows, doublings, rewards, seed), len(rows))


def _slope(rows: Sequence[Audited], doublings: Floats, rewards: Floats, seed: int) -> Interval:
    margins = np.array([row.margin for row in rows])
    x, y = doublings - doublings.mean(), margins - margins.mean()
    centred = (rewards - rewards.mean()).reshape(2, -1)
    columns = [np.ones_like(x), x, y, x * x, x * y, centred.sum(0), (centred**2).sum(0)]
    sums = np.array([_by_id(rows, column) for column in columns]).T

    def statistic(weights: Floats) -> Floats:
        n, sx, sy, sxx, sxy, sr, srr = (weights @ sums).T
        spread = sxx / n - (sx / n) ** 2
        deviation = np.sqrt(np.maximum(srr / (2 * n) - (sr / (2 * n)) ** 2, 0))
        found: Floats = np.full(len(weights), np.nan)
        # A resample of one prompt alone has no spread but for rounding.
        fit = (spread > ROUNDING * x.var()) & (deviation > ROUNDING * rewards.std())
        np.divide(sxy / n - sx * sy / n**2, spread * deviation, out=found, where=fit)
        return found

    return stats.resampled(statistic, len(sums), seed)


def figure(interval: Interval, n: int, why: str = "") -> dict[str, Any]:
    """A value with its interval and what it counts; a value or bounds that are not known are None.

    `why` says why there is no value, and is empty where there is one.
    """
    value = known(interval.mean)
    return {
        "value": value,
        "ci": bounds(interval),
        "n": n,
        "why": "" if value is not None else why,
    }


def bounds(interval: Interval) -> list[float | None]:
    """The interval's bounds, None where they are not known."""
    return [known(interval.low), known(interval.high)]


def known(value: float) -> float | None:
    """The value, or None where it is not a number."""
    return value if math.isfinite(value) else None


def _accuracy(rows: Sequence[Audited], rule: Rule, seed: int) -> Interval:
    sides = [rule(row) for row in rows]
    return stats.accuracy_interval(
        [one for one, _ in sides], [other for _, other in sides], [row.id for row in rows], seed
    )


def _lead(rows: Sequence[Audited], rule: Rule, seed: int) -> dict[str, Any]:
    """The reward's accuracy minus the rule's, on the same pairs."""
    ids = [row.id for row in rows]

    def right(by: Rule) -> list[list[float]]:
        sides = [by(row) for row in rows]
        preferred = stats.preferred([one for one, _ in sides], [other for _, other in sides])
        return stats.grouped(preferred, ids)

    found = stats.paired_difference(right(rule), right(_reward), seed)
    return figure(found.delta, len(rows), "no pairs")


def _reward(row: Audited) -> tuple[float, float]:
    return row.chosen, row.rejected


def _before_gate(row: Audited) -> tuple[float, float]:
    return row.chosen + (row.chosen_taken or 0.0), row.rejected + (row.rejected_taken or 0.0)


def _length(row: Audited) -> tuple[float, float]:
    return row.chosen_length, row.rejected_length


def _language(row: Audited) -> tuple[float, float]:
    """Both sides alike where the language of one cannot be told: then the rule says nothing."""
    return (
        (float(bool(row.chosen_in_language)), float(bool(row.rejected_in_language)))
        if _told(row)
        else (0.0, 0.0)
    )


def _told(row: Audited) -> bool:
    """Whether the languages of both answers can be told."""
    return None not in (row.chosen_in_language, row.rejected_in_language)


def _doublings(row: Audited) -> float:
    return math.log2(max(1, row.chosen_length)) - math.log2(max(1, row.rejected_length))


def _rewards(rows: Sequence[Audited]) -> Floats:
    """All rewards, first those of chosen, then those of rejected."""
    return np.array([row.chosen for row in rows] + [row.rejected for row in rows])


def _by_id(rows: Sequence[Audited], values: Floats) -> list[float]:
    return [sum(own) for own in stats.grouped(values.tolist(), [row.id for row in rows])]
