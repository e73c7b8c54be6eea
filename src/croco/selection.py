"""Which response is chosen and which rejected: numpy in, indices out, no I/O.

A *pool* holds the scored responses to one prompt. Chosen is its best response; rejected is the one
whose reward lies nearest to a target of the pool, by default the mean minus two standard deviations
(CroCo, arXiv 2605.26293; that best against worst is the weaker contrast is from Xiao et al., "Finding
the Sweet Spot", arXiv 2502.16825). The standard deviation is the population's, as published.

Strategies:

    chosen    max               the highest reward
              top-K             one of the K highest, drawn at random
              quantile-P        nearest to the P quantile of the pool's rewards
    rejected  mean-2std         nearest to mean - 2 std; any number: mean+0.5std, mean-1std, mean
              q1, quantile-P    nearest to the first quartile, to the P quantile (linear interpolation)
              min, median       nearest to the minimum, to the median
              random            any, drawn at random

Rules that hold for all of them:

- Mean, deviation and quantiles are those of *all* responses of a pool. Who may be chosen or rejected
  narrows the candidates and never the statistics, which would otherwise be biased.
- Rejected has a strictly lower reward than chosen and another text. Within a pool a text stands
  at most once among all chosen and rejected.
- Ties: of equal rewards the text with the smaller code comes first, then the smaller `order`; of two
  rewards equally far from a target, chosen takes the higher and rejected the lower. A draw depends on
  the pool's seed and the order by reward and code. So nothing depends on the order of rows, as long as
  codes do not.
- Where the first chosen finds no rejected, the next one is tried.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from croco.arrays import Bools, Floats, Ints
from croco.strategies import Rule

#: Why a pool gives no pair, by code; 0 is a pool that gives one.
REASONS = (
    "",
    "it has one response only",
    "all rewards are equal",
    "no response may be chosen",
    "no response may be rejected",
    "no response that may be rejected has a lower reward and another text than one that may be chosen",
    "the reward gap is too small",
    "the length ratio is too large",
    "it has no English responses to calibrate by",
)
ALONE, TIED, NO_CHOSEN, NO_REJECTED, NO_LOWER, SMALL_GAP, LONG, NO_REFERENCE = range(1, 9)


@dataclass(frozen=True, slots=True)
class Pools:
    """What is known of each pool; all arrays are of the length of `label`, which is sorted.

    `target` is the rejected strategy's (NaN where it has none). `fallback`: a mean-based target lay
    below every reward, so that the strategy was the minimum. `best` counts the texts that share the
    highest reward. `reason` is a code into `REASONS`, 0 where the pool gives a pair.
    """

    label: Ints
    size: Ints
    mean: Floats
    std: Floats
    low: Floats
    high: Floats
    target: Floats
    fallback: Bools
    best: Ints
    reason: Ints


@dataclass(frozen=True, slots=True)
class Selection:
    """Pairs as rows: the pool (an index into `pools`), and the indices of chosen and rejected.

    Pairs are sorted by pool and then best first. `refused` are pairs that were picked and then
    refused for their gap or length, with the code of the reason in `refusal`.
    """

    pools: Pools
    pool: Ints
    chosen: Ints
    rejected: Ints
    refused: Selection | None = None
    refusal: Ints | None = None


def select(
    rewards: npt.ArrayLike,
    pools: npt.ArrayLike | None = None,
    *,
    rejected: str = "mean-2std",
    chosen: str = "max",
    count: int = 1,
    texts: npt.ArrayLike | None = None,
    order: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
    may_be_chosen: npt.ArrayLike | None = None,
    may_be_rejected: npt.ArrayLike | None = None,
    min_gap: float = 0.0,
    max_length_ratio: float | None = None,
    seed: npt.ArrayLike = 0,
) -> Selection:
    """Up to `count` pairs of each pool.

    All arrays have one value per response, in any order: `rewards`; `pools`, integer labels (none:
    one pool); `texts`, integer codes, equal where texts are equal, smaller first in ties (none: every
    text is another); `order`, which of equal texts with equal rewards is taken, the smaller first
    (none: as they stand); `lengths`, for the longer over the shorter of a pair (`max_length_ratio`);
    flags of who may be chosen or rejected (none: all). `seed` is one number or one per response,
    equal within a pool. A pair with a gap below `min_gap` or too unequal lengths is refused after it
    was picked: no other response stands in for one that the strategy did not mean.

    Raises ValueError for a strategy that is not known, rewards that are not finite, or arrays of
    unequal lengths.
    """
    values = np.asarray(rewards, dtype=np.float64).ravel()
    if not np.isfinite(values).all():
        raise ValueError("rewards must be finite numbers")
    table = {
        "pools": _column(pools, values, 0, np.int64),
        "texts": _column(texts, values, np.arange(len(values)), np.int64),
        "order": _column(order, values, 0, np.int64),
        "chosen": _column(may_be_chosen, values, True, np.bool_),
        "rejected": _column(may_be_rejected, values, True, np.bool_),
        "seed": _column(None if np.ndim(seed) == 0 else seed, values, seed, np.uint64),
    }
    if lengths is None and max_length_ratio is not None:
        raise ValueError("a largest length ratio needs lengths")
    rules = Rule.chosen(chosen), Rule.rejected(rejected)
    found = _joined([_select(block, rules, count) for block in _blocks(values, table)])
    sizes = _column(lengths, values, 1, np.int64)
    return _refused(found, values, sizes, min_gap, max_length_ratio)


def _column(given: Any, values: Floats, default: Any, kind: Any) -> npt.NDArray[Any]:
    column = np.broadcast_to(np.asarray(default if given is None else given, kind), values.shape)
    if given is not None and np.shape(given) != values.shape:
        raise ValueError(f"{np.shape(given)} values for {len(values)} rewards")
    return column


@dataclass(frozen=True, slots=True)
class _Block:
    """Pools of one size: pools x responses, in ascending order of reward and then text code."""

    label: Ints
    seed: npt.NDArray[np.uint64]
    rows: Ints
    rewards: Floats
    texts: Ints
    chosen: Bools
    rejected: Bools


def _blocks(values: Floats, table: dict[str, npt.NDArray[Any]]) -> Iterator[_Block]:
    by_pool = np.argsort(table["pools"], kind="stable")
    ordered = table["pools"][by_pool]
    start = np.flatnonzero(np.append(True, np.diff(ordered) != 0)[: len(ordered)])
    label, size = ordered[start], np.diff(np.append(start, len(ordered)))
    for n in np.unique(size):
        own = size == n
        rows = by_pool[start[own, None] + np.arange(n)]
        ascending = np.lexsort((table["order"][rows], table["texts"][rows], values[rows]), axis=1)
        rows = np.take_along_axis(rows, ascending, axis=1)
        columns = {name: table[name][rows] for name in ("texts", "chosen", "rejected")}
        yield _Block(label[own], table["seed"][rows[:, 0]], rows, values[rows], **columns)


def _select(block: _Block, rules: tuple[Rule, Rule], count: int) -> Selection:
    picks = [*_picks(block, rules, count)]
    at, chosen, rejected = (_concatenated([pick[k] for pick in picks]) for k in range(3))
    values = block.rewards
    target = rules[1].target(values)
    pools = Pools(
        label=block.label,
        size=np.full(len(values), values.shape[1]),
        mean=values.mean(axis=1),
        std=values.std(axis=1),
        low=values[:, 0],
        high=values[:, -1],
        target=target,
        # Where all rewards are equal, rounding alone can bring the mean below them.
        fallback=(target < values[:, 0])
        & (values[:, 0] < values[:, -1])
        & (rules[1].kind == "mean"),
        best=_best_texts(block),
        reason=np.where(np.isin(np.arange(len(values)), at), 0, _why_none(block)),
    )
    return Selection(pools, at, block.rows[at, chosen], block.rows[at, rejected])


def _best_texts(block: _Block) -> Ints:
    """How many texts share the highest reward."""
    top = block.rewards == block.rewards[:, -1:]
    again = top[:, :-1] & (block.texts[:, 1:] == block.texts[:, :-1])
    return np.asarray(top.sum(axis=1) - again.sum(axis=1))


def _why_none(block: _Block) -> Ints:
    conditions = [
        np.full(len(block.rows), block.rows.shape[1] == 1),
        block.rewards[:, 0] == block.rewards[:, -1],
        ~block.chosen.any(axis=1),
        ~block.rejected.any(axis=1),
    ]
    return np.select(conditions, [ALONE, TIED, NO_CHOSEN, NO_REJECTED], NO_LOWER)


def _picks(
    block: _Block, rules: tuple[Rule, Rule], count: int
) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Pools with the columns of their chosen and rejected, at most one pair per pool and round."""
    values, texts = block.rewards, block.texts
    columns = np.arange(values.shape[1])
    free, below = block.chosen.copy(), block.rejected.copy()
    if rules[0].kind == "top":
        free &= free[:, ::-1].cumsum(axis=1)[:, ::-1] <= rules[0].value
    costs = [_cost(rule, block, side) for side, rule in enumerate(rules)]
    left = np.full(len(values), count)
    while (at := np.flatnonzero((left > 0) & free.any(axis=1) & below.any(axis=1))).size:
        best = _best(costs[0][at], free[at], values[at])[:, None]
        reward, text = values[at[:, None], best], texts[at[:, None], best]
        lower = below[at] & (values[at] < reward)
        other = lower & (texts[at] != text)
        # Where nothing is lower, no chosen of this reward or less has a rejected either.
        hopeless = ~lower.any(axis=1, keepdims=True) & (values[at] <= reward)
        free[at] &= ~((columns == best) | hopeless)
        found = other.any(axis=1)
        at, best, text = at[found], best[found], text[found]
        worse = _nearest(costs[1][at], other[found])[:, None]
        used = (texts[at] == text) | (texts[at] == texts[at[:, None], worse])
        free[at] &= ~used
        below[at] &= ~used
        left[at] -= 1
        yield at, best[:, 0], worse[:, 0]


def _cost(rule: Rule, block: _Block, side: int) -> Floats:
    """What a strategy would have least of, per response."""
    if rule.kind == "max":
        return -block.rewards
    if rule.kind in ("top", "random"):
        return _noise(block.seed * np.uint64(2) + np.uint64(side), block.rows.shape[1])
    return np.asarray(np.abs(block.rewards - rule.target(block.rewards)[:, None]))


def _noise(seeds: npt.NDArray[np.uint64], columns: int) -> Floats:
    """Numbers in [0, 1), seeds x columns: SplitMix64's output function (Steele et al., 2014)."""
    steps = np.arange(1, columns + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = seeds[:, None] + steps
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits = bits ^ (bits >> np.uint64(31))
    return np.asarray((bits >> np.uint64(11)) * 2.0**-53)


def _nearest(costs: Floats, free: Bools) -> Ints:
    """The free column of least cost; of several the lowest reward, and of those the first."""
    return np.asarray(np.where(free, costs, np.inf).argmin(axis=1))


def _best(costs: Floats, free: Bools, rewards: Floats) -> Ints:
    """The free column of least cost; of several the highest reward, and of those the first."""
    costs = np.where(free, costs, np.inf)
    least = costs == costs.min(axis=1, keepdims=True)
    highest = np.where(least, rewards, -np.inf).max(axis=1, keepdims=True)
    return np.asarray((least & (rewards == highest)).argmax(axis=1))


def _concatenated(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _joined(found: Sequence[Selection]) -> Selection:
    """Blocks of pools as one selection, sorted by label and within a pool best first."""
    columns = {
        field.name: _concatenated([getattr(one.pools, field.name) for one in found])
        for field in dataclasses.fields(Pools)
    }
    order = np.argsort(columns["label"], kind="stable")
    place = np.argsort(order, kind="stable")
    starts = np.cumsum([0, *(len(one.pools.label) for one in found)])
    pool = _concatenated([place[one.pool + s] for one, s in zip(found, starts, strict=False)])
    by_pool = np.argsort(pool, kind="stable")
    return Selection(
        Pools(**{name: values[order] for name, values in columns.items()}),
        pool[by_pool],
        _concatenated([one.chosen for one in found])[by_pool],
        _concatenated([one.rejected for one in found])[by_pool],
    )


def _refused(
    found: Selection, rewards: Floats, lengths: Ints, min_gap: float, max_ratio: float | None
) -> Selection:
    """The pairs whose gap and lengths are right; the others aside, with their reasons."""
    gap = rewards[found.chosen] - rewards[found.rejected]
    one, other = (np.maximum(lengths[side], 1) for side in (found.chosen, found.rejected))
    long = np.maximum(one / other, other / one) > (np.inf if max_ratio is None else max_ratio)
    code = np.select([gap < min_gap, long], [SMALL_GAP, LONG], 0)
    bad = code > 0
    emptied = np.setdiff1d(found.pool[bad], found.pool[~bad])
    reason = found.pools.reason.copy()
    reason[emptied] = code[np.searchsorted(found.pool, emptied)]
    pools = dataclasses.replace(found.pools, reason=reason)
    sides = [(found.pool[own], found.chosen[own], found.rejected[own]) for own in (~bad, bad)]
    return Selection(pools, *sides[0], Selection(pools, *sides[1]), code[bad])
