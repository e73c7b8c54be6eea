"""Rewards made comparable across languages, for pools that span them: numpy in, numpy out, no I/O.

A reward model gives some languages higher rewards than others for answers that are no better. Where one
pool holds all languages, raw rewards let those levels decide what is chosen. `fit` learns each
language's level over the whole set, and the `Calibration` takes it out:

    zscore     (reward - mean) / std of its language
    rank       the share of its language's rewards that lie below it, ties as half, in (0, 1)
    reference  the same prompt's mean English reward is taken off first, then as zscore: a prompt that is
               hard in every language no longer counts as a low reward

Standard deviations are the population's. A language whose rewards are all equal, but for rounding, is only
shifted: each of them becomes 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from croco.arrays import Floats, Ints

Method = Literal["none", "zscore", "rank", "reference"]

#: A deviation below this share of the largest reward is the rounding of equal rewards.
ROUNDING = 1e-12
#: The language of the responses that `reference` compares with: that of the reward model's training.
REFERENCE = "en"


@dataclass(frozen=True, slots=True)
class Rewards:
    """Rewards with the prompt (any integer) and the language of each response; prompts are whole."""

    rewards: Floats
    prompts: Ints
    langs: Ints
    names: list[str]


@dataclass
class _Moments:
    """Count, mean and sum of squared deviations; two of them add up exactly (Chan et al., 1979).

    `largest` is the largest of the numbers that the values were computed from, without its sign.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    largest: float = 0.0

    def add(self, values: Floats, rewards: Floats) -> None:
        if not values.size:
            return
        self.largest = max(self.largest, np.abs(rewards).max(), np.abs(rewards - values).max())
        mean, count = float(values.mean()), self.count + values.size
        shift = mean - self.mean
        self.squares += float(((values - mean) ** 2).sum())
        self.squares += shift**2 * self.count * values.size / count
        self.mean += shift * values.size / count
        self.count = count

    @property
    def std(self) -> float:
        """0 where all values are equal but for rounding."""
        std = float(np.sqrt(self.squares / self.count)) if self.count else 0.0
        return std if std > ROUNDING * self.largest else 0.0

    def scores(self, values: Floats) -> Floats:
        """Values less the mean, in deviations where there is one."""
        shifted = values - self.mean
        if self.std:
            return shifted / self.std
        return np.where(np.abs(shifted) <= ROUNDING * self.largest, 0.0, shifted)


@dataclass
class Calibration:
    """What `fit` learned; calling it gives calibrated rewards, NaN where there is no reference."""

    method: Method = "none"
    _moments: dict[str, _Moments] = field(default_factory=dict)
    _sorted: dict[str, Floats] = field(default_factory=dict)

    @property
    def levels(self) -> dict[str, tuple[float, float]]:
        """Language -> mean and deviation that are taken out (of zscore and reference)."""
        return {lang: (one.mean, one.std) for lang, one in sorted(self._moments.items())}

    def __call__(self, rows: Rewards) -> Floats:
        """Calibrated rewards, in the order of the rows."""
        values = _relative(rows) if self.method == "reference" else rows.rewards
        if self.method == "none":
            return values
        result = np.full(len(values), np.nan)
        for code, lang in enumerate(rows.names):
            own = rows.langs == code
            if own.any():
                result[own] = self._level(lang, values[own])
        return result

    def _level(self, lang: str, values: Floats) -> Floats:
        if self.method == "rank":
            known = self._sorted[lang]
            places = np.searchsorted(known, values, "left") + np.searchsorted(
                known, values, "right"
            )
            return np.asarray(places / (2 * len(known)))
        return self._moments[lang].scores(values)


def fit(method: Method, parts: Iterable[Rewards]) -> Calibration:
    """Learn the level of every language from all rewards, given in parts that hold whole prompts."""
    found = Calibration(method)
    kept: dict[str, list[Floats]] = {}
    for rows in parts if method != "none" else ():
        values = _relative(rows) if method == "reference" else rows.rewards
        for code, lang in enumerate(rows.names):
            own = (rows.langs == code) & np.isfinite(values)
            if method == "rank":
                kept.setdefault(lang, []).append(values[own])
            else:
                found._moments.setdefault(lang, _Moments()).add(values[own], rows.rewards[own])
    found._sorted = {lang: np.sort(np.concatenate(own)) for lang, own in kept.items()}
    return found


def _relative(rows: Rewards) -> Floats:
    """Rewards less the mean reward of the same prompt's English responses; NaN where it has none."""
    english = [code for code, name in enumerate(rows.names) if name.partition("-")[0] == REFERENCE]
    own = np.isin(rows.langs, english)
    prompts, place = np.unique(rows.prompts, return_inverse=True)
    sums = np.bincount(place[own], rows.rewards[own], len(prompts))
    counts = np.bincount(place[own], minlength=len(prompts))
    means = np.divide(sums, counts, out=np.full(len(prompts), np.nan), where=counts > 0)
    return np.asarray(rows.rewards - means[place])
