"""Two arms that were judged against the same base, compared with each other on the same prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from croco.comparing import Comparison, Values, values_of
from croco.stats import NAN, RESAMPLES, Interval, average_difference, mean_of_means


@dataclass(frozen=True, slots=True)
class Paired:
    """Two arms against the same base on the same prompts: their win rates, the difference (other less one),
    and the chance of one as large if the arms' labels meant nothing."""

    one: float
    other: float
    difference: Interval
    p_value: float
    prompts: int
    notes: list[str] = field(default_factory=list)


def paired_arms(
    one: Sequence[Comparison], other: Sequence[Comparison], seed: int, resamples: int = RESAMPLES
) -> Paired:
    """The paired test: the difference's interval over prompts, and signs of whole prompts flipped for p.

    Rates and difference are over the prompts, by language, that both sides have.
    """
    before, after = values_of(one), values_of(other)
    found = average_difference(before, after, seed, resamples)
    apart = _cells(before) ^ _cells(after)
    notes = [f"{len(apart)} prompts stand on one side only and are left out"] if apart else []
    if not found.clusters:
        return Paired(NAN, NAN, found.delta, NAN, 0, [*notes, "the arms share no judged prompt"])
    p_value = _sign_flips(before, after, seed, resamples)
    return Paired(found.base, found.tuned, found.delta, p_value, found.clusters, notes)


def _cells(values: Values) -> set[tuple[str, str]]:
    return {(lang, id) for lang, own in values.items() for id in own}


def _sign_flips(before: Values, after: Values, seed: int, resamples: int) -> float:
    shared = sorted(_cells(before) & _cells(after))
    ids = {id: k for k, id in enumerate(sorted({id for _, id in shared}))}
    languages = {lang: k for k, lang in enumerate(sorted({lang for lang, _ in shared}))}
    shares = np.zeros((len(ids), len(languages)))
    for lang, id in shared:
        gap = mean_of_means([after[lang][id]]) - mean_of_means([before[lang][id]])
        shares[ids[id], languages[lang]] = gap
    counts = np.bincount([languages[lang] for lang, _ in shared], minlength=len(languages))
    pulls = (shares / counts).mean(axis=1)  # what each prompt adds to the difference
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), (resamples, len(pulls)))
    extreme = np.abs(signs @ pulls) >= abs(pulls.sum()) - 1e-12
    return float((1 + extreme.sum()) / (1 + resamples))
