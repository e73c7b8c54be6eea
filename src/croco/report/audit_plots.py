"""Plots of a reward's audit; nothing is drawn, and the text is empty, where no figure is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from croco.auditing.trust import excludes_zero
from croco.report.plots import FAINT, INK, MARKERS, SERIES, _figure, _style, _svg

Found = Mapping[str, Mapping[str, Any]]


def accuracy_plot(found: Found, name: str) -> str:
    """Per language the accuracy with its interval, and what the two rules get on the same pairs."""
    known = {lang: own for lang, own in found.items() if own["accuracy"] is not None}
    if not known:
        return ""
    with _style():
        figure, (axis,) = _figure(1, 1, 6.4, 0.7 + 0.4 * len(known))
        axis.axvline(0.5, color=INK, linewidth=0.8)
        for y, own in enumerate(known.values()):
            above = own["ci"][0] is not None and own["ci"][0] > 0.5
            _whisker(axis, own["accuracy"], own["ci"], y - 0.22, 0, "o", above)
            _whisker(axis, own["longer_wins"], own["longer_wins_ci"], y, 1, "D", False)
            spoken = own["in_language_wins"], own["in_language_wins_ci"]
            _whisker(axis, *spoken, y + 0.22, 2, "s", False)
        _languages(axis, list(known))
        axis.set_xlim(-0.02, 1.02)
        axis.set_xlabel("share of pairs whose chosen answer is preferred, with 95 % interval")
        return _svg(figure, name, "Accuracy of the reward and of two rules, per language")


def calibration_plot(found: Found, name: str) -> str:
    """Per language how often margins are right, by what they claim."""
    known = {lang: own["calibration"]["bins"] for lang, own in found.items()}
    if not any(known.values()):
        return ""
    with _style():
        figure, (axis,) = _figure(1, 1, 4.6, 3.4)
        axis.plot([0.5, 1], [0.5, 1], "-", color=FAINT, linewidth=1)
        for k, bins in enumerate(known.values()):
            style = {"color": SERIES[k % len(SERIES)], "marker": MARKERS[k % len(MARKERS)]}
            axis.plot(
                [one["confidence"] for one in bins],
                [one["right"] for one in bins],
                markersize=4,
                linewidth=1.2,
                **style,
            )
        axis.set_xlim(0.49, 1.01)
        axis.set_ylim(-0.02, 1.02)
        axis.set_xlabel("mean sigmoid(|margin|) of the pairs")
        axis.set_ylabel("share that is right")
        return _svg(figure, name, "Calibration of margins, per language")


def drift_plot(found: Found, name: str) -> str:
    """Per language the mean reward beside English on the same prompts, in English deviations."""
    drifts = {
        lang: [own["english"]["drift"], own["pools"]["drift"] if "pools" in own else None]
        for lang, own in found.items()
    }
    known = {
        lang: both
        for lang, both in drifts.items()
        if any(d and d["value"] is not None for d in both)
    }
    if not known:
        return ""
    with _style():
        figure, (axis,) = _figure(1, 1, 6.4, 0.7 + 0.36 * len(known))
        axis.axvline(0, color=INK, linewidth=0.8)
        for y, both in enumerate(known.values()):
            for k, (one, marker) in enumerate(zip(both, "os", strict=True)):
                if one and one["value"] is not None:
                    clear = excludes_zero(one["ci"])
                    _whisker(axis, one["value"], one["ci"], y + 0.3 * k - 0.15, k, marker, clear)
        _languages(axis, list(known))
        axis.set_xlabel(
            "mean reward minus English, in English standard deviations, with 95 % interval"
        )
        return _svg(figure, name, "Drift of the mean reward from English, per language")


def _whisker(
    axis: Any,
    value: float,
    ci: list[float | None],
    y: float,
    k: int,
    marker: str,
    filled: bool,
) -> None:
    if None not in ci:
        axis.plot(ci, [y, y], "-", color=SERIES[k], linewidth=1.6)
    fill = SERIES[k] if filled else "none"
    axis.plot([value], [y], marker, color=SERIES[k], markerfacecolor=fill, markersize=5)


def _languages(axis: Any, languages: list[str]) -> None:
    axis.set_yticks(range(len(languages)), languages)
    axis.set_ylim(len(languages) - 0.45, -0.55)
    axis.tick_params(axis="y", length=0)
