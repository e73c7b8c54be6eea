"""Calibration of margins: whether a reward that prefers an answer by much is right more often.

Under Bradley and Terry ("Rank Analysis of Incomplete Block Designs", 1952) the probability that chosen
is better is sigmoid(margin): that is what such a reward model is trained for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from croco.arrays import Floats

#: At most so many bins, of at least so many pairs each.
BINS, LEAST = 10, 10


def calibration(margins: Sequence[float]) -> dict[str, Any]:
    """Bins of |margin| with what they claim and how often they are right, and how far both lie apart.

    A bin's `confidence` is its mean sigmoid(|margin|), `right` the share of its pairs whose chosen has
    the higher reward, ties as half. `expected_error` is the mean over pairs of |right - confidence| of
    their bin (expected calibration error; Guo et al., "On Calibration of Modern Neural Networks", 2017,
    section 2, with bins of equal counts). `temperature` is what margins must be divided by to be most
    likely: above 1 the reward is too sure, below 1 not sure enough.
    """
    values = np.asarray(margins, dtype=np.float64)
    found = bins(values)
    error = sum(one["n"] * abs(one["right"] - one["confidence"]) for one in found)
    heat, why = temperature(values)
    return {
        "bins": found,
        "expected_error": error / len(values) if len(values) else None,
        "temperature": heat,
        "why": why,
    }


def bins(margins: Floats) -> list[dict[str, Any]]:
    """Pairs by quantiles of |margin|, smallest first; equal margins share a bin."""
    if not margins.size:
        return []
    sizes = np.abs(margins)
    count = max(1, min(BINS, len(margins) // LEAST))
    edges = np.quantile(sizes, np.linspace(0, 1, count + 1)[1:-1])
    places = np.searchsorted(edges, sizes, side="right")
    right = (np.sign(margins) + 1) / 2
    confidence = 1 / (1 + np.exp(-sizes))
    return [
        {
            "n": int(own.sum()),
            "low": float(sizes[own].min()),
            "high": float(sizes[own].max()),
            "right": float(right[own].mean()),
            "confidence": float(confidence[own].mean()),
        }
        for own in (places == place for place in np.unique(places))
    ]


def temperature(margins: Floats) -> tuple[float | None, str]:
    """What to divide margins by so that they are most likely under Bradley-Terry; None with the reason.

    Likelihood is concave in 1 / temperature; its slope is sum of margin * sigmoid(-margin / temperature).
    """
    from scipy.optimize import brentq
    from scipy.special import expit

    if not margins.size:
        return None, "no pairs"
    scale = float(np.abs(margins).max())
    if scale == 0:
        return None, "all pairs are ties"
    unit = margins / scale
    if unit.sum() <= 0:
        return None, "the margins point the wrong way as much as the right way: no temperature fits"
    if (unit >= 0).all():
        return None, "no pair is wrong: the smaller the temperature, the likelier"

    def slope(sharpness: float) -> float:
        return float((unit * expit(-sharpness * unit)).sum())

    high = 1.0
    while slope(high) > 0:
        high *= 2
    return float(scale / brentq(slope, 0.0, high)), ""
