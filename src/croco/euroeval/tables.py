"""Models side by side on EuroEval's data sets: scores, differences from the base, means and mean ranks.

An iteration of EuroEval draws the data set's test items anew, with replacement, and the draws are the
same for every model. So the iterations' paired differences are a bootstrap already, and their standard
deviation s is the standard error of a difference, not s / sqrt(K): more iterations make it better known
and do not make the test set larger. With K iterations, a difference has the 95 % interval

    mean +- t * s * sqrt(1 + 1/K),      t of Student with K - 1 degrees of freedom,

and a mean over data sets, which are taken as independent, the square root of the sum of w^2 s^2 (1 + 1/K)
for the weights w, with Welch and Satterthwaite's degrees of freedom. EuroEval's own interval, of a score,
is 1.96 s / sqrt(K). A mean rank's interval is that of ranks in single iterations, one drawn per data set.

Differences are improvements: where a metric is better the lower it is, base minus tuned. In means such a
score counts as 100 less it, so that a mean difference is the difference of the means.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from croco.records import Benchmarked

BASE = "base"
AVERAGE = "average"
TAIL = 0.025
DRAWS = 2_000

#: Language -> data set -> model -> its row; of data sets that every model has a result of.
Table = dict[str, dict[str, dict[str, Benchmarked]]]


def tabulate(models: Mapping[str, Sequence[Benchmarked]], seed: int) -> dict[str, Any]:
    """The figures of models by name, "base" among them, as plain values without NaN.

    Means, differences and ranks are over the data sets that all models have a result of, by one metric;
    what is left out for that is in `missing`, with the reason. "average" weighs every language the same.
    """
    table, missing = _common(models)
    found = {
        lang: {"datasets": {name: _data_set(row) for name, row in own.items()}}
        | _means(list(models), {lang: own}, seed)
        for lang, own in table.items()
    }
    if table:
        found[AVERAGE] = _means(list(models), table, seed)
    versions = sorted({row.version for rows in models.values() for row in rows if row.version})
    return {
        "models": list(models),
        "versions": versions,
        "languages": found,
        "missing": missing,
    }


def _common(models: Mapping[str, Sequence[Benchmarked]]) -> tuple[Table, list[dict[str, str]]]:
    by_set: dict[tuple[str, str], dict[str, Benchmarked]] = {}
    for model, rows in models.items():
        for row in rows:
            by_set.setdefault((row.lang, row.dataset), {})[model] = row
    table: Table = {}
    missing = []
    for (lang, name), own in by_set.items():
        lacking = {m: why for m in models if (why := _why(own.get(m), own.get(BASE)))}
        missing += [
            {"lang": lang, "dataset": name, "model": model, "reason": reason}
            for model, reason in lacking.items()
        ]
        if not lacking:
            table.setdefault(lang, {})[name] = own
    return table, missing


def _why(row: Benchmarked | None, base: Benchmarked | None) -> str:
    """Why a model's row cannot stand beside the base's; nothing where it can."""
    if not row or not row.scores:
        return row.reason if row else "it was not benchmarked"
    if not base or not base.scores or _measure(row) == _measure(base):
        return ""
    return f"it has {_measure(row)}, where the base has {_measure(base)}"


def _measure(row: Benchmarked) -> str:
    return f"{row.metric} (lower is better)" if row.lower_is_better else row.metric


def _points(row: Benchmarked, score: float) -> float:
    """A score of which more is better."""
    return 100 - score if row.lower_is_better else score


def _data_set(own: Mapping[str, Benchmarked]) -> dict[str, Any]:
    row = next(iter(own.values()))
    scores = {
        model: {
            "score": one.score,
            "euroeval_ci": [_known(one.score - one.radius), _known(one.score + one.radius)],
            "iterations": len(one.scores),
            "failed": one.failed,
        }
        for model, one in own.items()
    }
    ranks = _ranks({model: _points(one, one.score) for model, one in own.items()})
    deltas = {model: _difference([(own, 1.0)], model) for model in own if model != BASE}
    return {
        "task": row.task,
        "metric": row.metric,
        "lower_is_better": row.lower_is_better,
        "models": scores,
        "ranks": ranks,
        "delta": deltas,
    }


def _means(models: Sequence[str], table: Table, seed: int) -> dict[str, Any]:
    weighed = [
        (own, 1 / len(table) / len(sets)) for sets in table.values() for own in sets.values()
    ]
    return {
        "mean": {model: _mean(weighed, model) for model in models},
        "delta": {model: _difference(weighed, model) for model in models if model != BASE},
        "mean_rank": _mean_ranks(models, weighed, seed),
        "sets": len(weighed),
    }


Weighed = Sequence[tuple[Mapping[str, Benchmarked], float]]


def _difference(weighed: Weighed, model: str) -> dict[str, Any]:
    delta = _mean(weighed, model) - _mean(weighed, BASE)
    radius = _radius([(_paired(own[BASE], own[model]), w) for own, w in weighed])
    bounds = [delta - radius, delta + radius]
    return {"delta": delta, "ci": [_known(bound) for bound in bounds], "sets": len(weighed)}


def _mean(weighed: Weighed, model: str) -> float:
    return sum(w * _points(own[model], own[model].score) for own, w in weighed)


def _paired(base: Benchmarked, tuned: Benchmarked) -> list[float]:
    """Differences by iteration; none where the two do not have the same iterations."""
    if len(base.scores) != len(tuned.scores):
        return []
    sign = -1 if base.lower_is_better else 1
    return [sign * (b - a) for a, b in zip(base.scores, tuned.scores, strict=True)]


def _radius(groups: Sequence[tuple[Sequence[float], float]]) -> float:
    """Half the 95 % interval of a weighted sum of the groups' means; NaN where a group has no spread
    to tell, with fewer than two iterations."""
    from scipy.special import stdtrit

    if any(len(values) < 2 for values, _ in groups):
        return math.nan
    variances = [
        w * w * float(np.var(values, ddof=1)) * (1 + 1 / len(values)) for values, w in groups
    ]
    total = sum(variances)
    if total == 0:
        return 0.0
    freedom = total**2 / sum(
        v * v / (len(values) - 1) for v, (values, _) in zip(variances, groups, strict=True)
    )
    return float(stdtrit(freedom, 1 - TAIL) * math.sqrt(total))


def _ranks(scores: Mapping[str, float]) -> dict[str, float]:
    """Ranks from 1 for the highest score; equal scores share the mean of their ranks."""
    from scipy.stats import rankdata

    ranks = rankdata([-score for score in scores.values()])
    return {model: float(rank) for model, rank in zip(scores, ranks, strict=True)}


def _mean_ranks(models: Sequence[str], weighed: Weighed, seed: int) -> dict[str, Any]:
    ranked = [(_ranks({m: _points(own[m], own[m].score) for m in models}), w) for own, w in weighed]
    points = {model: sum(w * ranks[model] for ranks, w in ranked) for model in models}
    drawn = _drawn_ranks(models, weighed, seed)
    found = {}
    for k, (model, rank) in enumerate(points.items()):
        bounds: list[float | None] = [None, None]
        if drawn is not None:
            low, high = np.quantile(drawn[:, k], [TAIL, 1 - TAIL])
            bounds = [float(min(low, rank)), float(max(high, rank))]
        found[model] = {"rank": rank, "ci": bounds}
    return found


def _drawn_ranks(models: Sequence[str], weighed: Weighed, seed: int) -> Any:
    """Mean ranks, draws x models, each from one iteration per data set; None where one has too few."""
    from scipy.stats import rankdata

    generator = np.random.default_rng(seed)
    total = np.zeros((DRAWS, len(models)))
    for own, w in weighed:
        lengths = {len(own[model].scores) for model in models}
        if len(lengths) > 1 or min(lengths) < 2:
            return None
        scores = [[_points(own[model], s) for s in own[model].scores] for model in models]
        ranks = rankdata(-np.array(scores), axis=0).T
        total += w * ranks[generator.integers(0, len(ranks), DRAWS)]
    return total


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
