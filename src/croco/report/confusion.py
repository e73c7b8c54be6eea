"""The confusion of languages as a plot: in which language answers are, by the one that was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from croco.report.plots import INK, SERIES, _figure, _style, _svg

#: Inches of a cell, and the strongest shade, on which a figure can still be read.
CELL, SHADE = 0.42, 0.55


def confusion_plot(
    table: Mapping[str, Mapping[str, int]], columns: Sequence[str], title: str, name: str
) -> str:
    """Asked languages down, answered ones across, shaded by the share of a row; `name` is unique.

    A cell shows its share in per cent where that is at least one half per cent.
    """
    from matplotlib.patches import Rectangle

    width, height = max(3.2, 0.9 + CELL * len(columns)), 0.9 + CELL * len(table)
    with _style():
        figure, (axis,) = _figure(1, 1, width, height)
        for y, own in enumerate(table.values()):
            total = sum(own.values())
            for x, answered in enumerate(columns):
                share = own.get(answered, 0) / total if total else 0.0
                corner = (x - 0.5, y - 0.5)
                axis.add_patch(
                    Rectangle(corner, 1, 1, facecolor=SERIES[0], alpha=SHADE * share, linewidth=0)
                )
                if share >= 0.005:
                    axis.text(x, y, f"{100 * share:.0f}", ha="center", va="center", color=INK)
        axis.set_xticks(range(len(columns)), columns, rotation=45 if _long(columns) else 0)
        axis.set_yticks(range(len(table)), list(table))
        axis.set_xlim(-0.5, max(1, len(columns)) - 0.5)
        axis.set_ylim(max(1, len(table)) - 0.5, -0.5)
        axis.tick_params(length=0)
        axis.set_xlabel("answered, in per cent of the row")
        axis.set_ylabel("asked")
        return _svg(figure, name, title)


def _long(labels: Sequence[str]) -> bool:
    return any(len(label) > 3 for label in labels)
