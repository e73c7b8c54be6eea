"""EuroEval in the report: base and arms per data set and language, with differences and mean ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from croco.euroeval.tables import AVERAGE, BASE, tabulate
from croco.records import MULTIPLE, Metric
from croco.report.page import Section
from croco.report.parts import Part
from croco.report.plots import forest_plot
from croco.stage import Sealed


def benchmark(inputs: Mapping[str, Sealed], recipe: dict[str, Any]) -> Part | None:
    """The part "benchmark"; None where the run does not benchmark."""
    models = {
        name: list(inputs[f"{name}.benchmark"].rows())
        for name in (BASE, *recipe["arms"])
        if f"{name}.benchmark" in inputs
    }
    if not models:
        return None
    figures = tabulate(models, recipe["seed"])
    covered = {row.lang for rows in models.values() for row in rows}
    figures["without_sets"] = [lang for lang in recipe["languages"] if lang not in covered]
    return Part("benchmark", figures, _section(figures))


def _section(figures: dict[str, Any]) -> Section:
    languages = figures["languages"]
    means = [_metric(model, lang, own) for lang, own in languages.items() for model in own["delta"]]
    tables = {
        lang: [
            (name, row, {model: _metric(model, lang, row) for model in row["delta"]})
            for name, row in own["datasets"].items()
        ]
        for lang, own in languages.items()
        if lang != AVERAGE
    }
    by_lang = {
        lang: {model: _metric(model, lang, own) for model in own["delta"]}
        for lang, own in languages.items()
    }
    values = {"figures": figures, "tables": tables, "deltas": by_lang}
    drawn = {"means": forest_plot(means, "benchmark-means")} if means else {}
    return Section("benchmark", "EuroEval", "benchmark.html.jinja", values, drawn)


def _metric(model: str, lang: str, own: dict[str, Any]) -> Metric:
    """A difference from the base as a row, which is how the page shows and draws one."""
    found = own["delta"][model]
    scores = own.get("mean") or {name: one["score"] for name, one in own["models"].items()}
    bounds = [math.nan if bound is None else bound for bound in found["ci"]]
    return Metric(
        arm=model,
        lang=MULTIPLE if lang == AVERAGE else lang,
        metric="euroeval",
        base=scores[BASE],
        tuned=scores[model],
        delta=found["delta"],
        ci=bounds,
        n=found["sets"],
        prompts=found["sets"],
    )
