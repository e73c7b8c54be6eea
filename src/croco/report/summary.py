"""The run's figures as one plain dictionary, for `summary.json`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from croco.records import MULTIPLE, Metric

#: What the average over languages is called where people read it; in records it is "mul".
AVERAGE = "average"


def summary(metrics: Sequence[Metric]) -> dict[str, Any]:
    """Arms -> language -> metric; NaN becomes None, which JSON can say.

    `ci` is the 95 % interval of `delta`.
    """
    arms: dict[str, Any] = {}
    for row in metrics:
        arms.setdefault(row.arm, {}).setdefault(lang_name(row.lang), {})[row.metric] = {
            "base": _known(row.base),
            "tuned": _known(row.tuned),
            "delta": _known(row.delta),
            "ci": [_known(bound) for bound in row.ci],
            "n": row.n,
        }
    return {"arms": arms}


def lang_name(lang: str) -> str:
    """The language as people read it: the record's "mul" is "average"."""
    return AVERAGE if lang == MULTIPLE else lang


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
