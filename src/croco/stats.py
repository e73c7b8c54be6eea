"""Win rates, and 95 % intervals over prompts: values in, numbers out, no I/O.

Answers to one prompt are alike, so the prompt is what is drawn at random: it is the cluster, and it enters
a variance, or a resample, whole: with all its answers, on both sides of a comparison, and in all languages
at once. A statistic is the mean over clusters of cluster means: every prompt counts the same, however many
answers it has. With clusters of equal size that is the mean of all values.

Shares (values that a count of verdicts gives: 0, 1, and ties between) have intervals in closed form
(`croco.intervals`). Of other values the interval is the percentile bootstrap's, taken further out for few
clusters as Hesterberg gives it ("What Teachers Should Know About the Bootstrap", 2015, "expanded
percentile"): plain percentiles are too narrow by the factor sqrt((n - 1) / n) and know nothing of
Student's t. A difference's is at least as wide as Student's, which bears languages with few prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from croco import intervals
from croco.arrays import Floats
from croco.intervals import NAN as NAN
from croco.intervals import TAIL
from croco.intervals import Interval as Interval

#: Language -> cluster -> the cluster's values.
Clusters = Mapping[str, Mapping[str, Sequence[float]]]

RESAMPLES = 10_000
BLOCK = 2**21
#: Draws that are kept for the next figure: 64 MB of them.
KEPT = 2**23


@dataclass(frozen=True, slots=True)
class Difference:
    """Means of both sides and their difference, all over the same `clusters` clusters."""

    base: float
    tuned: float
    delta: Interval
    clusters: int


def win_rate(tuned: Sequence[float], base: Sequence[float], tie: float = 0.0) -> float:
    """The share of all tuned x base pairs that tuned wins; a difference of at most `tie` is half.

    Raises ValueError where a side is empty or a score is not finite.
    """
    one, other = np.asarray(tuned, dtype=np.float64), np.asarray(base, dtype=np.float64)
    if not one.size or not other.size:
        raise ValueError("a win rate needs a score on each side")
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise ValueError("scores must be finite numbers")
    margins = np.subtract.outer(one, other)
    return float(np.mean((margins > tie) + 0.5 * (np.abs(margins) <= tie)))


def clustered_mean(
    clusters: Sequence[Sequence[float]], seed: int, resamples: int = RESAMPLES
) -> Interval:
    """The mean over clusters of cluster means, with its interval; a cluster of NaNs is left out."""
    table = np.array([[_mean(values)] for values in clusters]).reshape(-1, 1)
    return _interval(table, seed, resamples)


def paired_difference(
    base: Sequence[Sequence[float]],
    tuned: Sequence[Sequence[float]],
    seed: int,
    resamples: int = RESAMPLES,
) -> Difference:
    """Tuned against base over the same clusters, in the same order (else ValueError)."""
    if len(base) != len(tuned):
        raise ValueError(f"{len(base)} clusters of base, {len(tuned)} of tuned")
    before = {str(key): values for key, values in enumerate(base)}
    after = {str(key): values for key, values in enumerate(tuned)}
    return average_difference({"": before}, {"": after}, seed, resamples)


def average_difference(
    base: Clusters, tuned: Clusters, seed: int, resamples: int = RESAMPLES
) -> Difference:
    """Tuned against base, averaged over languages; both are values by language and cluster.

    One that a language lacks, or that has no value on one side, is left out there on both sides; each
    language that has clusters weighs the same. There is no interval where one has a single cluster.
    """
    before, after = _table(base, tuned), _table(tuned, base)
    missing = np.isnan(before) | np.isnan(after)
    before[missing] = after[missing] = NAN
    kept = ~missing.all(axis=0)
    before, after = before[:, kept], after[:, kept]
    if are_shares(base) and are_shares(tuned):
        delta = intervals.share_difference(before, after)
    else:
        delta = _widest(after - before, seed, resamples)
    return Difference(_average(before), _average(after), delta, int((~missing).any(axis=1).sum()))


def average(values: Clusters, seed: int, resamples: int = RESAMPLES) -> Interval:
    """The average over languages of values by language and cluster.

    A cluster that a language lacks is left out there; no interval where one has a single cluster.
    """
    table = _table(values, {})
    table = table[:, ~np.isnan(table).all(axis=0)]
    if are_shares(values):
        return intervals.share(table)
    return _widest(table, seed, resamples)


def are_shares(values: Clusters) -> bool:
    """Whether all values are such as verdicts give: 0, 1, a tie, or the mean of two of these."""
    found = [np.asarray(row, dtype=np.float64) for own in values.values() for row in own.values()]
    steps = 4 * np.concatenate([*found, np.zeros(0)])
    steps = steps[~np.isnan(steps)]
    return bool(np.all((steps >= 0) & (steps <= 4) & (steps == np.round(steps))))


def resampled(
    statistic: Callable[[Floats], Floats], clusters: int, seed: int, resamples: int = RESAMPLES
) -> Interval:
    """Any statistic of some clusters, with its interval.

    `statistic` takes weights, resamples x clusters: how often each cluster counts. It gives one value
    per resample, NaN where a resample has none; those are left out.
    """
    mean = float(statistic(np.ones((1, clusters)))[0]) if clusters else NAN
    if clusters < 2 or np.isnan(mean):
        return Interval(mean, NAN, NAN)
    values = np.concatenate([statistic(drawn) for drawn in resamples_of(clusters, seed, resamples)])
    low, high = np.nanquantile(values, [tail(clusters), 1 - tail(clusters)])
    return Interval(mean, float(min(low, mean)), float(max(high, mean)))


def spearman(
    one: Sequence[float], other: Sequence[float], clusters: Sequence[Hashable], seed: int
) -> Interval:
    """Spearman's rank correlation with its interval, equal values sharing the mean of their ranks.

    NaN where a side is constant. Ranks are taken anew in every resample.
    """
    index = {key: place for place, key in enumerate(dict.fromkeys(clusters))}
    of_value = np.array([index[key] for key in clusters], dtype=np.int64)

    def statistic(weights: Floats) -> Floats:
        own = weights[:, of_value]
        return _correlations(_ranks(one, own), _ranks(other, own), own)

    return resampled(statistic, len(index), seed)


def _ranks(values: Sequence[float], weights: Floats) -> Floats:
    """The rank of each value, per resample, where value k stands there weights[:, k] times."""
    group = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True)[1]
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    counts = np.add.reduceat(weights[:, order], starts, axis=1)
    middles = np.cumsum(counts, axis=1) - (counts - 1) / 2
    return np.asarray(middles[:, group])


def _correlations(one: Floats, other: Floats, weights: Floats) -> Floats:
    """Pearson's correlation per row; NaN where a side does not vary."""
    total = weights.sum(axis=1, keepdims=True)
    x, y = (side - (side * weights).sum(axis=1, keepdims=True) / total for side in (one, other))
    spread = np.sqrt((weights * x * x).sum(axis=1) * (weights * y * y).sum(axis=1))
    found = np.full(len(weights), NAN)
    np.divide((weights * x * y).sum(axis=1), spread, out=found, where=spread > 0)
    return np.asarray(np.clip(found, -1.0, 1.0))


def accuracy_interval(
    chosen: Sequence[float], rejected: Sequence[float], clusters: Sequence[Hashable], seed: int
) -> Interval:
    """How often the chosen's score is the higher one, ties as half, pairs grouped by `clusters`."""
    return share_interval(preferred(chosen, rejected), clusters, seed)


def share_interval(values: Sequence[float], clusters: Sequence[Hashable], seed: int) -> Interval:
    """The mean of values, grouped by `clusters`."""
    return average({"": {str(k): own for k, own in enumerate(grouped(values, clusters))}}, seed)


def preferred(chosen: Sequence[float], rejected: Sequence[float]) -> list[float]:
    """1.0 where the chosen's score is higher, 0.5 where the two are equal, else 0.0."""
    return [win_rate([a], [b]) for a, b in zip(chosen, rejected, strict=True)]


def grouped(values: Sequence[float], clusters: Sequence[Hashable]) -> list[list[float]]:
    """The values by cluster, clusters in the order in which they first occur."""
    groups: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        groups.setdefault(cluster, []).append(value)
    return list(groups.values())


def mean_of_means(clusters: Sequence[Sequence[float]]) -> float:
    """The mean over clusters of cluster means, values that are NaN left out."""
    return _mean([_mean(values) for values in clusters])


def distinct_n(words: Sequence[Hashable], n: int) -> float:
    """Distinct n-grams over n-grams, 1 where nothing is said twice; NaN below n words."""
    grams = list(zip(*(words[start:] for start in range(n)), strict=False))
    return len(set(grams)) / len(grams) if grams else NAN


def _mean(values: Sequence[float]) -> float:
    """The mean of the values that are not NaN; NaN where there is none."""
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if known.size else NAN


def _table(values: Clusters, other: Clusters) -> Floats:
    """Cluster means, clusters x languages of both sides, NaN where there is none; both sorted."""
    languages = sorted(values.keys() | other.keys())
    clusters = sorted({key for side in (values, other) for row in side.values() for key in row})
    cells = [[_mean(values.get(lang, {}).get(key, ())) for lang in languages] for key in clusters]
    return np.array(cells, dtype=np.float64).reshape(len(clusters), len(languages))


def _average(table: Floats) -> float:
    """The mean over columns of the means of what is known in them."""
    return _mean([_mean(column.tolist()) for column in table.T])


def _interval(table: Floats, seed: int, resamples: int) -> Interval:
    """The average of a table (clusters x languages, NaN where missing), its rows resampled."""
    table = table[:, ~np.isnan(table).all(axis=0)]
    table = table[~np.isnan(table).all(axis=1)]
    count, mean = len(table), _average(table)
    if count < 2:
        return Interval(mean, NAN, NAN)
    known = (~np.isnan(table)).astype(np.float64)
    filled = np.nan_to_num(table)
    draws = resamples_of(count, seed, resamples)
    averages = np.concatenate([_ratios(drawn @ filled, drawn @ known) for drawn in draws])
    low, high = np.nanquantile(averages, [tail(count), 1 - tail(count)])
    return Interval(mean, float(min(low, mean)), float(max(high, mean)))


def _widest(table: Floats, seed: int, resamples: int) -> Interval:
    """The bootstrap's interval of a table's average, or Student's where that is wider."""
    return intervals.outer(_interval(table, seed, resamples), intervals.students(table))


def _ratios(sums: Floats, counts: Floats) -> Floats:
    """Per resample the average over languages; NaN where a language drew none of its clusters."""
    means = np.full_like(sums, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return np.asarray(means.mean(axis=1))


def resamples_of(count: int, seed: int, resamples: int) -> Iterator[Floats]:
    """How often each cluster is drawn, resamples x clusters, in blocks that bound the memory.

    Equal arguments give equal draws: the figures of a run ask for the same ones many times over.
    """
    draw = _kept if count * resamples <= KEPT else _drawn
    yield from draw(count, seed, resamples)


@lru_cache(maxsize=1)
def _kept(count: int, seed: int, resamples: int) -> tuple[Floats, ...]:
    return tuple(_drawn(count, seed, resamples))


def _drawn(count: int, seed: int, resamples: int) -> Iterator[Floats]:
    generator = np.random.default_rng(seed)
    block = max(1, BLOCK // count)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = generator.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        yield weights.astype(np.float64)


def tail(count: int) -> float:
    """The share cut off at each end: 2.5 %, taken further out for few clusters."""
    from scipy.special import ndtr, stdtrit

    return float(ndtr(stdtrit(count - 1, TAIL) * np.sqrt(count / (count - 1))))
