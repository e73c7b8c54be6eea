"""Which response is chosen and which rejected: numpy in, indices out, no I/O.

Chosen is the highest reward. Rejected is the response whose reward lies nearest to a target of the
pool, strictly below chosen's (CroCo, arXiv 2605.26293; the controlled contrast is Xiao
et al., arXiv 2502.16825). Ties go to the lower index, for chosen and for rejected alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Selection:
    """Index pairs (chosen, rejected), the pool's statistics, and why there are no more pairs.

    `fallback` is true where the target lay below every reward, so that rejected is the minimum.
    """

    pairs: list[tuple[int, int]]
    mean: float
    std: float
    fallback: bool
    reason: str


def target(rewards: Floats, strategy: str) -> float:
    """The reward that rejected should be nearest to; the deviation is the population's."""
    if strategy == "mean-2std":
        return float(rewards.mean() - 2 * rewards.std())
    if strategy == "q1":
        return float(np.quantile(rewards, 0.25))
    if strategy == "min":
        return float(rewards.min())
    raise ValueError(f"unknown strategy {strategy!r}")


def select(
    rewards: Sequence[float],
    texts: Sequence[str],
    *,
    strategy: str = "mean-2std",
    count: int = 1,
    choosable: Sequence[bool] | None = None,
) -> Selection:
    """Up to `count` pairs of one pool; no response stands twice on the same side.

    Rewards must be finite (ValueError). `choosable` marks responses that may be chosen. A rejected
    response has a strictly lower reward and another text than its chosen one.
    """
    values = np.asarray(rewards, dtype=np.float64)
    if values.size == 0:
        return Selection([], float("nan"), float("nan"), False, "the pool is empty")
    if not np.isfinite(values).all():
        raise ValueError("rewards must be finite numbers")
    allowed = np.ones(values.size, bool) if choosable is None else np.asarray(choosable, bool)
    goal = target(values, strategy)
    pairs = _pairs(values, texts, goal, count, allowed)
    reason = "" if pairs else _why_none(values, allowed)
    fallback = bool(goal < values.min())
    return Selection(pairs, float(values.mean()), float(values.std()), fallback, reason)


def _pairs(
    values: Floats, texts: Sequence[str], goal: float, count: int, allowed: Bools
) -> list[tuple[int, int]]:
    best_first = [int(i) for i in np.argsort(-values, kind="stable") if allowed[i]]
    nearest_first = [int(i) for i in np.argsort(np.abs(values - goal), kind="stable")]
    pairs: list[tuple[int, int]] = []
    for chosen in best_first:
        if len(pairs) == count:
            break
        used = {rejected for _, rejected in pairs}
        for rejected in nearest_first:
            lower = values[rejected] < values[chosen]
            if lower and rejected not in used and texts[rejected] != texts[chosen]:
                pairs.append((chosen, rejected))
                break
    return pairs


def _why_none(values: Floats, allowed: Bools) -> str:
    if not allowed.any():
        return "no response may be chosen"
    if np.ptp(values) == 0:
        return "all rewards are equal"
    return "no response has a lower reward and another text than the best one"
