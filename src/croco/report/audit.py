"""The audit of a reward where people read it: its tables and reasons, and its section of the report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from croco.auditing import audit
from croco.auditing.english import REFERENCE
from croco.report import audit_plots as plots
from croco.report.page import Section
from croco.report.parts import Part
from croco.seen import COUNTS
from croco.stage import Sealed

Figures = Mapping[str, Any]
#: A column: its heading, and a language's cell.
Column = tuple[str, Callable[[Figures], str]]


def audit_part(stages: Mapping[str, Sealed], recipe: dict[str, Any]) -> Part:
    """The audit of a run's reward: its pairs, and its own rewards of the training answers as pools."""
    rows = list(stages["audit"].rows())
    pools = list(stages["score"].rows()) if "score" in stages else []
    found = audit(rows, recipe["seed"], pools)
    sentence = left_out(stages)["sentence"]
    return Part("audit", found, section(found, sentence) if found or sentence else None)


def left_out_part(stages: Mapping[str, Sealed], recipe: dict[str, Any]) -> Part:
    """How many of the pairs the reward was trained on, which are not in the audit."""
    counts = left_out(stages)
    return Part("audit_left_out", {key: own for key, own in counts.items() if key != "sentence"})


def left_out(stages: Mapping[str, Sealed]) -> dict[str, Any]:
    """What the audit's stage says of pairs that the reward was trained on."""
    found: dict[str, Any] = json.loads((stages["audit"].files / COUNTS).read_text("utf-8"))
    return found


def section(found: Mapping[str, Figures], left_out: str = "") -> Section:
    """The audit's section of a page; `left_out` is a sentence on pairs that are not in it."""
    return Section(
        id="audit",
        title="Reward audit",
        template="audit.html.jinja",
        values={
            "judged": any(figures["n"] for figures in found.values()),
            "left_out": left_out,
            "languages": found,
            "tables": {title: table(found, title) for title in shown(found)},
            "flaws": _flaws(found),
            "unknown": unknown(found),
        },
        plots={
            "accuracy": plots.accuracy_plot(found, "audit-accuracy"),
            "calibration": plots.calibration_plot(found, "audit-calibration"),
            "drift": plots.drift_plot(found, "audit-drift"),
        },
    )


def shown(found: Mapping[str, Figures]) -> list[str]:
    """The titles of the tables that have something to say."""
    pooled = any("pools" in figures for figures in found.values())
    return [title for title in TABLES if title != POOLS or pooled]


def table(found: Mapping[str, Figures], title: str) -> list[list[str]]:
    """A table's cells: its headings, then a row per language."""
    columns = TABLES[title]
    rows = [[lang, *(cell(figures) for _, cell in columns)] for lang, figures in found.items()]
    return [["Language", *(heading for heading, _ in columns)], *rows]


def unknown(found: Mapping[str, Figures]) -> list[str]:
    """What could not be measured, and why: a sentence per language and reason."""
    said = []
    for lang, figures in found.items():
        whys: dict[str, list[str]] = {}
        for what, one in _measured(figures):
            if one["why"] and one["why"] != REFERENCE:
                whys.setdefault(one["why"], []).append(what)
        said += [f"{lang}: no {', no '.join(whats)}: {why}" for why, whats in whys.items()]
    return said


def _measured(figures: Figures) -> list[tuple[str, Any]]:
    english, pools = figures["english"], figures.get("pools", {})
    return [
        ("lead over the longer answer", figures["over_longer_wins"]),
        ("accuracy where the language decides", figures["in_language_decides"]),
        ("accuracy where chosen is longer", figures["chosen_longer"]),
        ("accuracy where chosen is shorter", figures["chosen_shorter"]),
        ("temperature", figures["calibration"]),
        ("length slope", figures["length_slope"]),
        ("drift", english["drift"]),
        ("agreement of margins", english["margins"]),
        ("agreement of rewards", english["rewards"]),
        *((f"agreement of pools' {key}", pools[key]) for key in ("means", "spreads") if pools),
    ]


def _flaws(found: Mapping[str, Figures]) -> list[list[str]]:
    return [
        [lang, flaw, *(cell(own) for _, cell in FLAW_COLUMNS)]
        for lang, figures in found.items()
        for flaw, own in figures["flaws"].items()
    ]


def _interval(value: float | None, ci: list[float | None], form: str) -> str:
    if value is None:
        return "n/a"
    low, high = ci
    shown = form.format(value)
    known = low is not None and high is not None
    return shown + (f" [{form.format(low)}, {form.format(high)}]" if known else "")


def _figure(path: str, form: str) -> Callable[[Figures], str]:
    """The cell of a figure with its interval, by the keys that lead to it."""

    def cell(figures: Figures) -> str:
        one: Any = figures
        for key in path.split("."):
            one = one.get(key)
            if one is None:
                return "n/a"
        return _interval(one["value"], one["ci"], form)

    return cell


def _number(path: str, form: str) -> Callable[[Figures], str]:
    def cell(figures: Figures) -> str:
        one: Any = figures
        for key in path.split("."):
            one = one.get(key) if one is not None else None
        return "n/a" if one is None else form.format(one)

    return cell


def _rule(name: str, ci: str) -> Callable[[Figures], str]:
    return lambda figures: _interval(figures[name], figures[ci], "{:.0%}")


def _points(path: str) -> Callable[[Figures], str]:
    """A difference of shares, in points."""

    def cell(figures: Figures) -> str:
        one = figures[path]
        value, *ci = (
            None if bound is None else round(100 * bound) for bound in (one["value"], *one["ci"])
        )
        return _interval(value, ci, "{:+d}")

    return cell


FLAW_COLUMNS: tuple[Column, ...] = (
    ("Pairs", _number("n", "{}")),
    ("Right", _rule("accuracy", "ci")),
    ("Longer wins", _rule("longer_wins", "longer_wins_ci")),
    ("Mean margin", _number("mean_margin", "{:.2f}")),
)
POOLS = "Own answers beside English"
TABLES: dict[str, tuple[Column, ...]] = {
    "Accuracy beside two rules": (
        *FLAW_COLUMNS[:3],
        ("Right without gate", _figure("without_gate", "{:.0%}")),
        ("Lead, points", _points("over_longer_wins")),
        ("In language wins", _rule("in_language_wins", "in_language_wins_ci")),
        ("Lead, points", _points("over_in_language_wins")),
    ),
    "Length and calibration": (
        ("Right where chosen is longer", _figure("chosen_longer", "{:.0%}")),
        ("Right where it is shorter", _figure("chosen_shorter", "{:.0%}")),
        ("Std per doubling", _figure("length_slope", "{:+.2f}")),
        ("Calibration error", _number("calibration.expected_error", "{:.2f}")),
        ("Temperature", _number("calibration.temperature", "{:.2f}")),
        ("Mean margin", _number("mean_margin", "{:.2f}")),
    ),
    "Pairs beside English": (
        ("Prompts in both", _number("english.prompts", "{}")),
        ("Drift, English std", _figure("english.drift", "{:+.2f}")),
        ("Margins' rank correlation", _figure("english.margins", "{:+.2f}")),
        ("Rewards' rank correlation", _figure("english.rewards", "{:+.2f}")),
        ("Same order", _figure("english.same_order", "{:.0%}")),
    ),
    POOLS: (
        ("Prompts in both", _number("pools.prompts", "{}")),
        ("Drift, English std", _figure("pools.drift", "{:+.2f}")),
        ("Means' rank correlation", _figure("pools.means", "{:+.2f}")),
        ("Spreads' rank correlation", _figure("pools.spreads", "{:+.2f}")),
    ),
}
