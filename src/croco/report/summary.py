"""The run's figures as one plain dictionary, for `summary.json`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from croco.records import MULTIPLE, Audit, Metric

#: What the average over languages is called where people read it; in records it is "mul".
AVERAGE = "average"


def summary(metrics: Sequence[Metric], audits: Sequence[Audit]) -> dict[str, Any]:
    """Arms -> language -> metric, and the audit per language; NaN becomes None, which JSON can say.

    `ci` is the 95 % interval of `delta`, and in the audit that of `accuracy`.
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
    overall = {
        lang_name(row.lang): {
            "accuracy": _known(row.accuracy),
            "ci": [_known(bound) for bound in row.ci],
            "n": row.n,
            "longer_wins": _known(row.longer_wins),
        }
        for row in audits
        if not row.flaw
    }
    return {"arms": arms, "audit": overall}


def lang_name(lang: str) -> str:
    """The language as people read it: the record's "mul" is "average"."""
    return AVERAGE if lang == MULTIPLE else lang


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
