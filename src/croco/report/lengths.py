"""Plots of judged comparisons: win rates with intervals per language, and preference against length."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from croco.comparing import Comparison, Judged
from croco.report.plots import FAINT, INK, MARKERS, SERIES, _figure, _style, _svg
from croco.report.summary import lang_name

#: The rates that are drawn, by attribute.
RATES = {
    "win_rate": "win rate",
    "in_language": "both in language",
    "language_alone": "by language alone",
    "length_controlled": "length-controlled",
    "language_adjusted": "language-adjusted",
}
BINS = 10


def rate_plot(found: Mapping[str, Judged], name: str) -> str:
    """The win rates of each language and of their average, with 95 % intervals."""
    with _style():
        figure, (axis,) = _figure(1, 1, 6.4, 0.9 + 0.7 * len(found))
        axis.axvline(0.5, color=INK, linewidth=0.8)
        named: set[int] = set()
        for y, own in enumerate(found.values()):
            for k, (key, label) in enumerate(RATES.items()):
                rate, at = getattr(own, key), y + 0.15 * (k - 2)
                if not math.isfinite(rate.mean):
                    continue
                style = {"color": SERIES[k], "markersize": 4.5}
                if math.isfinite(rate.low):
                    axis.plot([rate.low, rate.high], [at, at], "-", color=SERIES[k], linewidth=1.6)
                shown = None if k in named else label
                axis.plot([rate.mean], [at], MARKERS[k], label=shown, **style)
                named.add(k)
        axis.set_yticks(range(len(found)), [_label(own) for own in found.values()])
        axis.set_ylim(len(found) - 0.45, -0.55)
        axis.set_xlim(0, 1)
        axis.tick_params(axis="y", length=0)
        axis.set_xlabel("share of judgments that tuned wins, ties as half")
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return _svg(figure, name, "Win rates per language with their intervals")


def _label(own: Judged) -> str:
    """A language's name; an average that lacks languages names its own."""
    over = f" of {', '.join(own.languages)}" if own.languages and own.lacking else ""
    return f"{lang_name(own.lang)}{over}"


def length_plot(rows: Sequence[Comparison], name: str) -> str:
    """How often tuned wins by how much longer it is: means of ten groups of equal size."""
    known = [(row.lengths[1] - row.lengths[0], row.value) for row in rows]
    known = sorted((gap, value) for gap, value in known if math.isfinite(value))
    with _style():
        figure, (axis,) = _figure(1, 1, 6.4, 2.4)
        axis.axhline(0.5, color=FAINT, linewidth=0.8)
        axis.axvline(0, color=FAINT, linewidth=0.8)
        if known:
            groups = np.array_split(np.array(known), min(BINS, len(known)))
            middles = [float(group[:, 0].mean()) for group in groups]
            rates = [float(group[:, 1].mean()) for group in groups]
            axis.plot(middles, rates, "o-", color=SERIES[0], markersize=5, linewidth=1)
        axis.set_ylim(-0.03, 1.03)
        axis.set_xlabel("tuned answer is longer by, characters (means of ten groups)")
        axis.set_ylabel("win rate")
        return _svg(figure, name, "Win rate of tuned by how much longer its answer is")
