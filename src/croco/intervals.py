"""95 % intervals in closed form, for means over languages of means over prompts: tables in, bounds out.

A table has a row per prompt and a column per language, and holds the mean of the prompt's values there,
NaN where there is none. A prompt is a cluster: its row enters a variance as a whole.

Student's t suits values without bounds; each language's errors are stretched by the t of its own number
of prompts, so that a language with few prompts widens the average as much as it must. Shares lie between 0
and 1, and near either end a sample can be without any spread. They get Wilson's score interval, with as
many units as give the variance between prompts, stretched by the same t, and Clopper and Pearson's bound
where all values are 0 or all are 1. A difference of two shares combines the intervals of both sides
(Newcombe 1998; Zou and Donner 2008).

What few prompts cannot show is how alike the answers to one prompt are. Where k prompts of n differ from
all right (or from all wrong, whichever are fewer), the standard error grows by a doubt of 1 / (1 + k)
prompts: with k = 0 the units are the prompts, as though each had a single answer, and with every prompt
more the doubt counts for less. A difference has such a doubt too, k being the prompts that differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from croco.arrays import Bools, Floats

NAN = float("nan")
TAIL = 0.025
#: The normal distribution's quantile at 97.5 %.
Z = 1.959964


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % interval; the bounds are NaN where it has none."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over languages of means over prompts, its variance, and how far Student's interval reaches.

    The latter two are NaN where a language has fewer than two prompts.
    """

    mean: float
    variance: float
    reach: float


def estimate(table: Floats) -> Estimate:
    """The average of a table, whatever makes a prompt's values in several languages alike."""
    known = ~np.isnan(table)
    counts = known.sum(axis=0)
    if not table.size or not counts.all():
        return Estimate(NAN, NAN, NAN)
    means = np.where(known, table, 0.0).sum(axis=0) / counts
    if counts.min() < 2:
        return Estimate(float(means.mean()), NAN, NAN)
    rest = np.where(known, table - means, 0.0)
    errors = rest / np.sqrt(counts * (counts - 1)) / len(counts)
    variance, squared = (
        float((parts.sum(axis=1) ** 2).sum()) for parts in (errors, errors * students_t(counts - 1))
    )
    return Estimate(float(means.mean()), variance, float(np.sqrt(squared)))


def students(table: Floats) -> Interval:
    """Student's interval of the average of a table of any values."""
    found = estimate(table)
    return Interval(found.mean, found.mean - found.reach, found.mean + found.reach)


def outer(one: Interval, other: Interval) -> Interval:
    """The wider of two intervals of one mean at either end; NaN where either has no bound."""
    low, high = np.minimum(one.low, other.low), np.maximum(one.high, other.high)
    return Interval(one.mean, float(low), float(high))


def share(table: Floats) -> Interval:
    """The interval of an average of shares, a table of values from 0 to 1."""
    found = estimate(table)
    if np.isnan(found.reach):
        return Interval(found.mean, NAN, NAN)
    if found.mean in (0.0, 1.0):
        far = float(TAIL ** np.mean(1 / _counts(table)))
        return Interval(1.0, far, 1.0) if found.mean else Interval(0.0, 0.0, 1 - far)
    doubt = _doubt(table, table < 1, table > 0)
    variance = found.variance + doubt.variance
    units = (found.mean * (1 - found.mean) + doubt.spread) / variance
    stretch = np.sqrt(((found.reach / Z) ** 2 + doubt.variance) / variance)
    return wilson(found.mean, units, stretch)


def share_difference(before: Floats, after: Floats) -> Interval:
    """The interval of the difference of two averages of shares, of tables with the same places known."""
    one, other, both = estimate(before), estimate(after), estimate(after - before)
    if np.isnan(both.reach):
        return Interval(both.mean, NAN, NAN)
    base, tuned, alike = share(before), share(after), _correlation(before, after)
    low = _combined(tuned.mean - tuned.low, base.high - base.mean, alike)
    high = _combined(tuned.high - tuned.mean, base.mean - base.low, alike)
    delta = other.mean - one.mean
    return Interval(delta, delta - low, delta + high)


def wilson(mean: float, units: float, stretch: float = 1.0) -> Interval:
    """Wilson's score interval of a share of so many independent units, stretched about the mean."""
    middle = (mean + Z**2 / (2 * units)) / (1 + Z**2 / units)
    reach = Z * np.sqrt(mean * (1 - mean) / units + (Z / (2 * units)) ** 2) / (1 + Z**2 / units)
    down, up = (max(0.0, stretch * (reach + side)) for side in (mean - middle, middle - mean))
    return Interval(mean, float(max(0.0, mean - down)), float(min(1.0, mean + up)))


def students_t(freedom: Floats) -> Floats:
    """Student's t at 97.5 %."""
    from scipy.special import stdtrit

    return np.asarray(-stdtrit(freedom, TAIL))


@dataclass(frozen=True, slots=True)
class _Doubt:
    """What is added for prompts that were not seen: to a variance, and to the spread mean (1 - mean)."""

    variance: float
    spread: float


def _doubt(table: Floats, some: Bools, others: Bools) -> _Doubt:
    """The doubt where `some` prompts deviate from one extreme and `others` from the opposite one."""
    counts = _counts(table)
    seen = np.minimum(some.sum(axis=0), others.sum(axis=0))
    prompts = 1 / (1.0 + seen)
    return _Doubt(float(np.mean(prompts / counts) ** 2), float(np.mean(prompts**2 / counts)))


def _counts(table: Floats) -> Floats:
    return np.asarray((~np.isnan(table)).sum(axis=0), dtype=np.float64)


def _correlation(before: Floats, after: Floats) -> float:
    """How alike the errors of both sides are, each variance with its doubt."""
    gaps = after - before
    sides = [
        (estimate(table).reach / Z) ** 2 + _doubt(table, table < 1, table > 0).variance
        for table in (before, after)
    ]
    differ = np.nan_to_num(gaps) != 0
    apart = (estimate(gaps).reach / Z) ** 2 + _doubt(gaps, differ, differ).variance
    return float(np.clip((sum(sides) - apart) / (2 * np.sqrt(sides[0] * sides[1])), -1.0, 1.0))


def _combined(one: float, other: float, alike: float) -> float:
    """How far a difference's bound lies from it, given how far the two sides' bounds do."""
    return float(np.sqrt(max(0.0, one**2 + other**2 - 2 * alike * one * other)))
