"""The report of a comparison: two sides' answers to the same prompts, as judged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from croco import yamls
from croco.metrics import compare
from croco.provenance import provenance
from croco.records import MULTIPLE, Metric
from croco.report.judged import comparisons_part
from croco.report.languages import languages_part
from croco.report.page import Report, delta, page
from croco.report.summary import summary
from croco.settings import Section
from croco.stage import Context, Sealed
from croco.stages.judgments import answered, arm_of, examples

#: What the answers of a file say nothing of: its tokens, and why an answer ended.
NOT_KNOWN = {"mean_length", "finished"}


class Config(Section):
    """The resolved recipe, which the page shows."""

    recipe: dict[str, Any]


def report(config: Config, context: Context) -> list[Metric]:
    """All metrics; the page and the summary are the stage's files."""
    inputs, recipe = context.inputs, config.recipe
    arm = arm_of(inputs, "tuned", answered(inputs, "base", "answers"), "answers", recipe["seed"])
    measured = compare(arm.name, arm.figures, arm.base, arm.tuned, recipe["seed"])
    metrics = [row for row in measured if row.metric not in NOT_KNOWN]
    left_out = _left_out(inputs)
    part = comparisons_part({arm.name: arm.rows}, {arm.name: arm.figures}, recipe["seed"])
    part.figures[arm.name]["notes"] += left_out
    parts = [part, languages_part(inputs, recipe)]
    made = Report(
        name=recipe["name"],
        seed=recipe["seed"],
        result=_in_words(metrics),
        metrics=metrics,
        answers=list(examples(arm, list(inputs["prompts"].rows()))),
        recipe=yamls.dump(recipe),
        provenance=provenance(),
        sections=[one.section for one in parts if one.section],
    )
    (context.files / "index.html").write_text(page(made), encoding="utf-8")
    found = summary(metrics) | {one.key: one.figures for one in parts}
    figures = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    (context.files / "summary.json").write_text(figures + "\n", encoding="utf-8")
    return metrics


def _in_words(metrics: list[Metric]) -> str:
    win = next((m for m in metrics if (m.metric, m.lang) == ("win_rate", MULTIPLE)), None)
    if win is None:
        return "Nothing could be compared: no comparison has a verdict."
    return (
        f"Averaged over languages, tuned wins {win.tuned:.2f} of comparisons with base"
        f" ({delta(win)} from 0.5); {win.n} answers to {win.prompts} prompts."
    )


def _left_out(inputs: Mapping[str, Sealed]) -> list[str]:
    """Prompts that only one side answered, by language, in words."""
    keys = {
        side: {row.key for row in inputs[f"{side}.answers"].rows()} for side in ("base", "tuned")
    }
    notes = []
    for side, other in (("base", "tuned"), ("tuned", "base")):
        alone = keys[side] - keys[other]
        whole = {lang for _, lang in keys[side]} - {lang for _, lang in keys[other]}
        if whole:
            notes.append(f"only {side} has answers in {', '.join(sorted(whole))}: not compared")
        if rest := sum(lang not in whole for _, lang in alone):
            notes.append(f"{rest} prompts that only {side} answered are left out")
    return notes
