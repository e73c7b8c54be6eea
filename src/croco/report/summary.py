"""The run's figures as one plain dictionary, for `summary.json`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from croco.records import MULTIPLE, UNTRAINED, Metric

#: What the average over languages is called where people read it; in records it is "mul".
AVERAGE = "average"
#: What is put to the name of what was not trained.
NOT_TRAINED = "(not trained)"


def summary(metrics: Sequence[Metric]) -> dict[str, Any]:
    """Arms -> language -> metric; NaN becomes None, which JSON can say.

    `ci` is the 95 % interval of `delta`; an average has its `languages`, and those that it is `lacking`
    of those that were asked for. `untrained` are the languages of `arms` that were not trained.
    """
    arms: dict[str, Any] = {}
    for row in metrics:
        arms.setdefault(row.arm, {}).setdefault(lang_name(row.lang), {})[row.metric] = {
            "base": _known(row.base),
            "tuned": _known(row.tuned),
            "delta": _known(row.delta),
            "ci": [_known(bound) for bound in row.ci],
            "n": row.n,
        } | ({"languages": row.languages, "lacking": row.lacking} if row.languages else {})
    untrained = {row.lang for row in metrics if not row.trained} - {UNTRAINED}
    return {"arms": arms, "untrained": sorted(untrained)}


def lang_name(lang: str) -> str:
    """The language as people read it: the record's "mul" is "average"."""
    return {MULTIPLE: AVERAGE, UNTRAINED: f"{AVERAGE} {NOT_TRAINED}"}.get(lang, lang)


def row_name(row: Metric) -> str:
    """A figure's language as people read it, marked where it was not trained.

    An average that lacks languages which were asked for names its own.
    """
    plain = row.trained or row.lang == UNTRAINED
    over = f" of {', '.join(row.languages)}" if row.lacking else ""
    return f"{lang_name(row.lang)}{over}" if plain else f"{row.lang} {NOT_TRAINED}"


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
