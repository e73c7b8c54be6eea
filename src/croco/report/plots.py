"""Plots as inline SVG: the same figures give the same bytes, and colours follow the page's theme.

matplotlib draws with stand-in colours that are then replaced by the page's CSS variables, so that
one drawing serves light and dark. Text stays text. No pyplot, so no state beyond a figure.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from croco.records import MULTIPLE, UNTRAINED, Metric, Step
from croco.report.summary import lang_name, row_name

INK, FAINT = "#010203", "#040506"
SERIES = ("#010a01", "#010a02", "#010a03", "#010a04", "#010a05", "#010a06")
CHOSEN, REJECTED = SERIES[0], SERIES[1]
VARIABLES = {INK: "var(--ink)", FAINT: "var(--rule)"} | {
    color: f"var(--series-{k})" for k, color in enumerate(SERIES)
}
MARKERS = "osD^vP"
#: More marked points than these per side and language are thinned to evenly spaced quantiles.
POINTS = 150


@dataclass(frozen=True, slots=True)
class Pool:
    """The rewards of one pool in one language, and those of its chosen and rejected answers."""

    lang: str
    rewards: list[float]
    chosen: list[float]
    rejected: list[float]


def reward_plot(pools: Sequence[Pool], name: str) -> str:
    """Histograms of rewards per language, chosen and rejected marked below; `name` is unique."""
    languages = sorted({pool.lang for pool in pools})
    columns = min(2, len(languages)) or 1
    rows = math.ceil(len(languages) / columns) or 1
    with _style():
        figure, axes = _figure(rows, columns, 4.2 * columns, 0.6 + 1.5 * rows, sharex=True)
        for axis, lang in zip(axes, languages, strict=False):
            _rewards(axis, [pool for pool in pools if pool.lang == lang], lang)
        for axis in axes[len(languages) :]:
            axis.set_axis_off()
        for axis in axes[max(0, len(languages) - columns) : len(languages)]:
            axis.set_xlabel("reward")
            axis.tick_params(labelbottom=True)
        return _svg(figure, name, f"Reward distributions in {', '.join(languages)}")


def _rewards(axis: Any, pools: Sequence[Pool], lang: str) -> None:
    rewards = [reward for pool in pools for reward in pool.rewards]
    heights, _, _ = axis.hist(rewards, bins=40, color=FAINT)
    top = max([*heights, 1])
    sides = (("chosen", "^", CHOSEN, -0.13), ("rejected", "v", REJECTED, -0.32))
    for side, marker, color, height in sides:
        points = _thinned([reward for pool in pools for reward in getattr(pool, side)])
        heights_of = [height * top] * len(points)
        style = {"color": color, "markersize": 4, "alpha": 0.55, "markeredgewidth": 0}
        axis.plot(points, heights_of, marker, label=side, **style)
    axis.set_ylim(-0.45 * top, 1.08 * top)
    axis.set_yticks([])
    axis.set_title(lang_name(lang), loc="left", fontweight="bold")


def _thinned(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    if len(ordered) <= POINTS:
        return ordered
    return [ordered[round(k * (len(ordered) - 1) / (POINTS - 1))] for k in range(POINTS)]


def size_plot(sizes: dict[str, list[dict[str, Any]]], name: str) -> str:
    """What smaller pools would give, per language: the gap, and how often the target is out of reach."""
    panels = {
        "gap of chosen and rejected, in std": "gap",
        "mean - 2 std below the minimum": "target_below_minimum",
    }
    with _style():
        figure, axes = _figure(1, 2, 8.4, 2.6)
        for axis, (title, key) in zip(axes, panels.items(), strict=True):
            for k, (lang, rows) in enumerate(sizes.items()):
                style = {"color": SERIES[k % len(SERIES)], "marker": MARKERS[k % len(MARKERS)]}
                known = [(row["n"], row[key]) for row in rows if row[key] is not None]
                axis.plot(
                    [n for n, _ in known], [y for _, y in known], markersize=4, label=lang, **style
                )
            ticks = sorted({row["n"] for rows in sizes.values() for row in rows})
            axis.set_xscale("log", base=2)
            axis.set_xticks(ticks, [str(n) for n in ticks])
            axis.minorticks_off()
            axis.set_xlabel("responses in a pool")
            axis.set_title(title, loc="left", fontweight="bold")
        axes[1].set_ylim(-0.03, 1.03)
        if sizes:
            axes[0].legend(frameon=False, fontsize=8)
        return _svg(figure, name, "Gap, and share of pools below the target, by pool size")


def spread_plot(languages: dict[str, dict[str, Any]], name: str) -> str:
    """Reward margins and length gaps of pairs per language: 5, 25, 50, 75 and 95 % quantiles."""
    shown = [lang for lang, own in languages.items() if own.get("length_gaps")]
    panels = {"reward margin": "margins", "chosen longer by, characters": "length_gaps"}
    with _style():
        figure, axes = _figure(1, 2, 8.4, 0.8 + 0.24 * max(1, len(shown)))
        for axis, (title, key) in zip(axes, panels.items(), strict=True):
            axis.axvline(0, color=INK, linewidth=0.8)
            for y, lang in enumerate(shown):
                if quantiles := languages[lang][key]:
                    low, quarter, middle, upper, high = quantiles
                    axis.plot([low, high], [y, y], "-", color=SERIES[0], linewidth=1)
                    axis.plot([quarter, upper], [y, y], "-", color=SERIES[0], linewidth=4)
                    axis.plot([middle], [y], "o", color=INK, markersize=4)
            axis.set_yticks(range(len(shown)), shown)
            axis.set_ylim(len(shown) - 0.4, -0.6)
            axis.set_title(title, loc="left", fontweight="bold")
        return _svg(figure, name, "Reward margins and length gaps of pairs")


def curve_plot(steps: Sequence[Step], name: str) -> str:
    """Loss, margin, accuracy and both log-probabilities over the steps of one training run."""
    panels = {
        "loss": [("loss", "loss", SERIES[2], "-")],
        "reward margin": [("margin", "margin", SERIES[2], "-")],
        "accuracy": [("accuracy", "accuracy", SERIES[2], "-")],
        "log-probability": [
            ("chosen_logp", "chosen", CHOSEN, "-"),
            ("rejected_logp", "rejected", REJECTED, "--"),
        ],
    }
    with _style():
        figure, axes = _figure(1, 4, 10.5, 2.3)
        for axis, (title, lines) in zip(axes, panels.items(), strict=True):
            drawn = [_curve(axis, steps, *line) for line in lines]
            axis.set_title(title, loc="left", fontweight="bold")
            axis.set_xlabel("step")
            if not any(drawn):
                axis.set_axis_off()
                axis.text(0, 0.5, "not logged by this method", transform=axis.transAxes)
        if steps:
            axes[2].set_ylim(-0.03, 1.03)
        return _svg(figure, name, "Training curves: loss, margin, accuracy, log-probabilities")


def _curve(
    axis: Any, steps: Sequence[Step], field: str, label: str, color: str, style: str
) -> bool:
    known = [(row.step, getattr(row, field)) for row in steps]
    known = [(step, value) for step, value in known if math.isfinite(value)]
    if known:
        marker = "o" if len(known) < 3 else ""
        xs, ys = zip(*known, strict=True)
        axis.plot(xs, ys, style, color=color, marker=marker, markersize=4, label=label)
    return bool(known)


def forest_plot(metrics: Sequence[Metric], name: str) -> str:
    """Deltas of one metric with their intervals, per language and arm; untrained ones stand below."""
    names = {row.lang: row_name(row) for row in sorted(metrics, key=_place)}
    languages, trained = list(names), {row.lang for row in metrics if row.trained}
    arms = list(dict.fromkeys(row.arm for row in metrics))
    height = 0.7 + len(languages) * (0.16 + 0.16 * len(arms))
    with _style():
        figure, (axis,) = _figure(1, 1, 6.4, height)
        axis.axvline(0, color=INK, linewidth=0.8)
        for row in metrics:
            k = arms.index(row.arm)
            offset = (k - (len(arms) - 1) / 2) * 0.7 / max(1, len(arms))
            _whisker(axis, row, languages.index(row.lang) + offset, k)
        if 0 < len(trained) < len(languages):
            axis.axhline(len(trained) - 0.5, color=FAINT, linewidth=0.8)
        axis.set_yticks(range(len(languages)), list(names.values()))
        axis.set_ylim(len(languages) - 0.45, -0.55)
        axis.tick_params(axis="y", length=0)
        axis.set_xlabel("tuned minus base, with 95 % interval")
        return _svg(figure, name, "Differences between tuned and base with their intervals")


def _place(row: Metric) -> tuple[bool, bool, str]:
    return not row.trained, row.lang in (MULTIPLE, UNTRAINED), row.lang


def _whisker(axis: Any, row: Metric, y: float, k: int) -> None:
    color, marker = SERIES[k % len(SERIES)], MARKERS[k % len(MARKERS)]
    if not math.isfinite(row.delta):
        return
    if all(math.isfinite(bound) for bound in row.ci):
        axis.plot(row.ci, [y, y], "-", color=color, linewidth=1.6)
    fill = color if excludes_zero(row) else "none"
    axis.plot([row.delta], [y], marker, color=color, markerfacecolor=fill, markersize=5)


def excludes_zero(row: Metric) -> bool:
    """Whether the interval of the difference lies wholly on one side of zero."""
    return row.ci[0] > 0 or row.ci[1] < 0


def _style() -> Any:
    import matplotlib

    return matplotlib.rc_context(
        {
            "svg.hashsalt": "croco",
            "svg.fonttype": "none",
            "text.parse_math": False,
            "font.family": "DejaVu Sans",
            "font.size": 9,
            "axes.titlesize": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": FAINT,
            **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
        }
    )


def _figure(rows: int, columns: int, width: float, height: float, sharex: bool = False) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, sharex=sharex).ravel()


def _svg(figure: Any, name: str, title: str) -> str:
    """The figure as an `<svg>` element: ids made unique by `name`, colours as CSS variables."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    unwanted = r'<metadata>.*?</metadata>|<style.*?</style>| xmlns(:xlink)?="[^"]*"'
    svg = re.sub(unwanted, "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    for color, variable in VARIABLES.items():
        svg = svg.replace(color, variable)
    label = title.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
