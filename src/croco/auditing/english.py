"""A language beside English, on the prompts that both have: drift of the mean, agreement of ranks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from croco import stats
from croco.arrays import Floats
from croco.auditing.figures import FEWEST, ROUNDING, figure
from croco.records import Audited, Rewards
from croco.stats import Interval

#: The rewards of a prompt's answers, by prompt id.
Answers = Mapping[str, Sequence[float]]

#: Why English has no figures of this kind.
REFERENCE = "English is what the others are compared with"
NOTHING = Interval(math.nan, math.nan, math.nan)


def english_of(languages: Iterable[str]) -> str | None:
    """English among some languages: "en" itself, or else a regional one, such as "en-GB"."""
    return next((lang for lang in sorted(languages) if lang.partition("-")[0] == "en"), None)


def agreement(
    rows: Sequence[Audited], english: Sequence[Audited], seed: int, is_english: bool = False
) -> dict[str, Any]:
    """A language's pairs beside English's pairs of the same ids.

    `drift` is the mean reward's, in standard deviations of the English rewards. `margins` is Spearman's
    correlation of the two languages' margins over ids, `rewards` that of the rewards of all their
    answers, a chosen answer beside the chosen one and a rejected beside the rejected. `same_order` is
    the share of ids whose pair both languages order alike, half where one of them has a tie.
    """
    own, other = _pairs([] if is_english else rows), _pairs(english)
    shared = [id for id in own if id in other]
    why = _why(len(shared), bool(english), is_english)
    mine, theirs = [own[id] for id in shared], [other[id] for id in shared]
    margins = [_rounded([_margin(pair) for pair in side], side) for side in (mine, theirs)]
    rewards = [_rounded(_flat(side), side) for side in (mine, theirs)]
    ids = [id for id in shared for _ in range(2)]
    alike = [(1 + np.sign(_margin(a) * _margin(b))) / 2 for a, b in zip(mine, theirs, strict=True)]
    return {
        "prompts": len(shared),
        "drift": drift(own, other, seed, why),
        "margins": _correlation(margins, shared, seed, why),
        "rewards": _correlation(rewards, ids, seed, why),
        "same_order": figure(
            stats.share_interval([float(one) for one in alike], shared, seed), len(shared), why
        ),
    }


def of_pools(rows: Iterable[Rewards], lang: str, english: str | None, seed: int) -> dict[str, Any]:
    """A language's pools of sampled answers beside English's pools of the same prompts.

    The answers differ, so prompts are what is compared: `means` is Spearman's correlation over prompts
    of the pools' mean rewards, `spreads` that of their standard deviations, `drift` as in `agreement`.
    """
    pools: dict[str, dict[str, Sequence[float]]] = {}
    for row in rows:
        if row.lang in (lang, english):
            pools.setdefault(row.lang, {})[row.id] = row.rewards
    other = pools.get(english or "", {})
    own = {} if lang == english else pools.get(lang, {})
    shared = [id for id in own if id in other]
    why = _why(len(shared), bool(other), lang == english)

    def compared(of: Any) -> dict[str, Any]:
        sides = ([side[id] for id in shared] for side in (own, other))
        values = [_rounded([float(of(pool)) for pool in side], side) for side in sides]
        return _correlation(values, shared, seed, why)

    return {
        "prompts": len(shared),
        "drift": drift(own, other, seed, why),
        "means": compared(np.mean),
        "spreads": compared(np.std),
    }


def drift(own: Answers, english: Answers, seed: int, why: str = "") -> dict[str, Any]:
    """The mean over shared ids of mean reward minus English mean reward, in English deviations.

    The deviation is that of all English rewards of these ids; both are taken anew in every resample.
    """
    shared = [id for id in own if id in english]
    if not shared:
        return figure(NOTHING, 0, why)
    gaps = np.array([np.mean(own[id]) - np.mean(english[id]) for id in shared])
    rewards = np.array([reward for id in shared for reward in english[id]])
    least = ROUNDING * max(np.abs(rewards))
    centred = [np.asarray(english[id]) - rewards.mean() for id in shared]
    sums = np.array(
        [[1.0, gap, len(r), r.sum(), r @ r] for gap, r in zip(gaps, centred, strict=True)]
    )

    def statistic(weights: Floats) -> Floats:
        prompts, gap, n, s, ss = (weights @ sums).T
        deviation = np.sqrt(np.maximum(ss / n - (s / n) ** 2, 0))
        found: Floats = np.full(len(weights), np.nan)
        np.divide(gap / prompts, deviation, out=found, where=deviation > least)
        return found

    found = stats.resampled(statistic, len(shared), seed)
    return figure(found, len(shared), "the English rewards are all equal: there is no deviation")


def _correlation(
    sides: Sequence[Sequence[float]], ids: Sequence[str], seed: int, why: str
) -> dict[str, Any]:
    prompts = len(set(ids))
    if prompts < FEWEST:
        return figure(NOTHING, prompts, why or f"{prompts} prompts in both: ranks need {FEWEST}")
    found = stats.spearman(sides[0], sides[1], ids, seed)
    return figure(found, prompts, "the values of one language are all equal: they have no ranks")


def _rounded(values: Sequence[float], rewards: Sequence[Sequence[float]]) -> list[float]:
    """Values made of rewards, in which those that differ by rounding alone are equal."""
    scale = max((abs(reward) for own in rewards for reward in own), default=0.0) or 1.0
    return [round(value / scale, 9) for value in values]


def _why(shared: int, english: bool, is_english: bool) -> str:
    """Why nothing can be compared, or nothing."""
    if is_english:
        return REFERENCE
    if not english:
        return "there is no English to compare with"
    return "" if shared else "no prompt is in both languages"


def _pairs(rows: Sequence[Audited]) -> dict[str, tuple[float, float]]:
    """Chosen's and rejected's reward by id; the mean where an id has several pairs."""
    by_id: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        by_id.setdefault(row.id, []).append((row.chosen, row.rejected))
    means = {id: np.mean(pairs, axis=0) for id, pairs in by_id.items()}
    return {id: (float(one), float(other)) for id, (one, other) in means.items()}


def _margin(pair: tuple[float, float]) -> float:
    return pair[0] - pair[1]


def _flat(pairs: Sequence[tuple[float, float]]) -> list[float]:
    return [reward for pair in pairs for reward in pair]
