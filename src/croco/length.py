"""Length-controlled win rates: what a judge would say if both answers were equally long.

AlpacaEval 2 (Dubois et al., "Length-Controlled AlpacaEval", arXiv 2404.04475, section 3) regresses a
judge's preference on the difference of lengths and takes the model's term alone. `alpaca_fit` is that
model, with AlpacaEval's terms of length and of each instruction's difficulty; `length_fit` is the same
without difficulty, for prompts of which none is known. Lengths are in characters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from croco.arrays import Floats

#: Keeps a fit finite where one side always wins; worth a thousandth of a comparison.
RIDGE = 1e-3
#: AlpacaEval's weight of the two sets of rows that tie the terms of length to the baseline's own.
GAMED_WEIGHT = 0.1


@dataclass(frozen=True, slots=True)
class Weights:
    """The terms of AlpacaEval's model: of tanh of the standardised length difference, of difficulty,
    and the model's own."""

    length: float
    difficulty: float
    model: float


@dataclass(frozen=True, slots=True)
class Gamed:
    """Rows of the baseline told to be concise and verbose: they tie the length term down.

    `differences` are standardised, baseline's length less the answer's; all arrays have one value a row.
    """

    differences: Floats
    difficulties: Floats
    preferences: Floats


def preferences_of(raw: Sequence[float | None]) -> Floats:
    """AlpacaEval's raw preferences (1: baseline, 2: model, 1.5 or 0: a draw) as shares from 0 to 1.

    What was not judged, None or NaN, is NaN.
    """
    values = np.array([np.nan if one is None else one for one in raw], dtype=np.float64)
    return np.where(values == 0.0, 0.5, values - 1.0)


def alpaca_figures(raw: Sequence[float | None]) -> dict[str, float]:
    """AlpacaEval's win rate, standard error and discrete win rate, in per cent, and its counts.

    They are of what was judged. Raises ValueError where nothing was.
    """
    values = preferences_of(raw)
    values = values[~np.isnan(values)]
    if not len(values):
        raise ValueError("nothing was judged: there are no figures")
    wins, losses = int((values > 0.5).sum()), int((values < 0.5).sum())
    draws = len(values) - wins - losses
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return {
        "win_rate": 100 * float(values.mean()),
        "standard_error": 100 * spread / float(np.sqrt(len(values))),
        "n_wins": wins,
        "n_wins_base": losses,
        "n_draws": draws,
        "n_total": len(values),
        "discrete_win_rate": 100 * (wins + draws / 2) / len(values),
    }


def alpaca_fit(
    preferences: Floats,
    baseline_lengths: Sequence[int],
    model_lengths: Sequence[int],
    difficulties: Floats,
    gamed: Gamed,
) -> Weights:
    """AlpacaEval's whole fit, without its L1 penalty; arrays have one value per instruction.

    A preference may be NaN where an instruction was not judged. The baseline against itself has no
    weights. Raises ValueError where else all lengths differ by the same: there is no length term.
    """
    terms = standardised(np.subtract(baseline_lengths, model_lengths, dtype=np.float64))
    judged = ~np.isnan(preferences)
    if terms is None and np.all(preferences[judged] == 0.5):
        return Weights(0.0, 0.0, 0.0)
    if terms is None:
        raise ValueError("all answers differ from the baseline's by the same length")
    own = np.column_stack([terms, difficulties, np.ones(len(terms))])[judged]
    rows = np.column_stack(
        [np.tanh(gamed.differences), gamed.difficulties, np.zeros(len(gamed.differences))]
    )
    weights = np.concatenate([np.ones(len(own)), np.full(len(rows), GAMED_WEIGHT)])
    outcomes = np.concatenate([preferences[judged], gamed.preferences])
    length, difficulty, model = logistic_fit(np.vstack([own, rows]), outcomes, weights, ridge=0.0)
    return Weights(float(length), float(difficulty), float(model))


def alpaca_win_rate(weights: Weights, difficulties: Floats) -> float:
    """The length-controlled win rate, in per cent: the model's term and difficulty, at equal lengths."""
    return 100 * float(sigmoid(weights.model + weights.difficulty * difficulties).mean())


def share_of_verdict(logprobs: Mapping[str, float], one: str = "m", other: str = "M") -> float:
    """The share of one of a judge's two verdicts, from log-probabilities of its next token.

    AlpacaEval's judge says "m" or "M" for who is better. Raises ValueError where both are missing.
    """
    mine, theirs = (float(np.exp(logprobs.get(name, -np.inf))) for name in (one, other))
    if not mine + theirs:
        raise ValueError(f"neither {one!r} nor {other!r} is among the judge's tokens")
    return mine / (mine + theirs)


def standardised(differences: Floats) -> Floats | None:
    """tanh of the differences over their deviation (not centred); None where they do not vary."""
    spread = differences.std(ddof=1) if len(differences) > 1 else 0.0
    # Differences are whole numbers of characters: less spread than this is none.
    return np.tanh(differences / spread) if spread > 1e-9 else None


def length_fit(values: Floats, terms: Floats, weights: Floats) -> Floats:
    """The model's term and the length's, of values from 0 to 1, without difficulty."""
    return logistic_fit(np.column_stack([np.ones(len(terms)), terms]), values, weights, RIDGE)


def logistic_fit(features: Floats, values: Floats, weights: Floats, ridge: float) -> Floats:
    """The weighted logistic regression of values from 0 to 1, by Newton's steps with a line search."""
    found = np.zeros(features.shape[1])
    loss = _loss(features, values, weights, ridge, found)
    for _ in range(100):
        shares = sigmoid(features @ found)
        slope = features.T @ (weights * (values - shares)) - ridge * found
        bend = (features * (weights * shares * (1 - shares))[:, None]).T @ features
        step = np.linalg.lstsq(bend + ridge * np.eye(len(found)), slope, rcond=None)[0]
        size = 1.0
        while (new := _loss(features, values, weights, ridge, found + size * step)) > loss:
            size /= 2
            if size < 1e-6:
                return found
        found, done, loss = found + size * step, loss - new < 1e-13 * (1 + abs(loss)), new
        if done:
            break
    return found


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    return np.exp(-np.logaddexp(0.0, -values))


def _loss(features: Floats, values: Floats, weights: Floats, ridge: float, found: Floats) -> float:
    scores = features @ found
    losses = values * np.logaddexp(0, -scores) + (1 - values) * np.logaddexp(0, scores)
    return float(weights @ losses + ridge / 2 * found @ found)
