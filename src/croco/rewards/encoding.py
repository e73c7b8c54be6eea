"""What reward models read, and the rule that equal rows are scored once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from croco.errors import EngineError
from croco.rewards.classifier import encode as encode


def scored_once(
    rows: Sequence[list[int]], logits: Callable[[list[list[int]]], list[float]]
) -> list[float]:
    """The logit of every row; equal rows (an answer given twice) are scored once.

    Raises EngineError where a logit is not a finite number.
    """
    places = {tuple(row): k for k, row in reversed(list(enumerate(rows)))}
    firsts = sorted(places.values())
    found = dict(zip(firsts, logits([rows[k] for k in firsts]), strict=True)) if firsts else {}
    bad = next((k for k in firsts if not math.isfinite(found[k])), None)
    if bad is not None:
        raise EngineError(f"the reward of answer {bad} is {found[bad]}: check the model")
    return [found[places[tuple(row)]] for row in rows]
