"""The report of a comparison: two sides' answers to the same prompts, as judged."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from croco import yamls
from croco.metrics import compare
from croco.provenance import provenance
from croco.records import MULTIPLE, Failure, Metric, Prompt
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
    prompts, seed = list(inputs["prompts"].rows()), recipe["seed"]
    asked = sorted({row.lang for row in prompts})
    base = answered(inputs, "base", "answers")
    arm = arm_of(inputs, "tuned", base, "answers", seed, asked=asked)
    measured = compare(arm.name, arm.figures, arm.base, arm.tuned, seed, asked=asked)
    metrics = [row for row in measured if row.metric not in NOT_KNOWN]
    failed = _failed(inputs)
    part = comparisons_part({arm.name: arm.rows}, {arm.name: arm.figures}, seed)
    part.figures[arm.name]["notes"] += [*_failures(failed, prompts), *_left_out(inputs)]
    parts = [part, languages_part(inputs, recipe)]
    made = Report(
        name=recipe["name"],
        seed=recipe["seed"],
        result=_in_words(metrics),
        metrics=metrics,
        answers=list(examples(arm, prompts)),
        recipe=yamls.dump(recipe),
        provenance=provenance(),
        sections=[one.section for one in parts if one.section],
    )
    (context.files / "index.html").write_text(page(made), encoding="utf-8")
    found = summary(metrics) | {one.key: one.figures for one in parts}
    found["failed"] = {
        stage: dict(Counter(failure.lang for failure in own)) for stage, own in failed.items()
    }
    figures = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    (context.files / "summary.json").write_text(figures + "\n", encoding="utf-8")
    return metrics


def _in_words(metrics: list[Metric]) -> str:
    win = next((m for m in metrics if (m.metric, m.lang) == ("win_rate", MULTIPLE)), None)
    if win is None:
        return "Nothing could be compared: no comparison has a verdict."
    over = ", ".join(win.languages) if win.lacking else "languages"
    lacking = f" Nothing is known in {', '.join(win.lacking)}." if win.lacking else ""
    return (
        f"Averaged over {over}, tuned wins {win.tuned:.2f} of comparisons with base"
        f" ({delta(win)} from 0.5); {win.n} answers to {win.prompts} prompts.{lacking}"
    )


def _failed(inputs: Mapping[str, Sealed]) -> dict[str, list[Failure]]:
    """The rows that stages were sealed without, by stage; of stages that lack none nothing."""
    found = {
        name: [one for shard in range(sealed.shards) for one in sealed.failed(shard)]
        for name, sealed in inputs.items()
    }
    return {name: own for name, own in found.items() if own}


def _failures(failed: Mapping[str, list[Failure]], prompts: Sequence[Prompt]) -> list[str]:
    """The failed rows in words, by stage and language."""
    asked = Counter(row.lang for row in prompts)
    notes = []
    for stage, own in failed.items():
        for lang, count in sorted(Counter(one.lang for one in own).items()):
            first = next(one for one in own if one.lang == lang)
            notes.append(
                f"{lang}: {count} of {asked[lang]} prompts failed in {stage} and are left out (first:"
                f" {first.id}, {first.error})"
            )
    return notes


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
