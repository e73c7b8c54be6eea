"""AlpacaEval 2's published leaderboard, computed again from its published judgments."""

import csv
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from croco.length import (
    Gamed,
    Weights,
    alpaca_figures,
    alpaca_fit,
    alpaca_win_rate,
    preferences_of,
    share_of_verdict,
)

DATA = Path(os.environ.get("CROCO_DATA", Path(__file__).parents[3] / "shared" / "data"))
ORACLE = DATA / "winrate_oracle"
COUNTS = ("n_wins", "n_wins_base", "n_draws", "n_total")

pytestmark = pytest.mark.skipif(not ORACLE.exists(), reason="the published judgments are not here")


def rows(name):
    return [json.loads(line) for line in (ORACLE / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def difficulty():
    return np.array([row["instruction_difficulty"] for row in rows("instructions.jsonl")])


@pytest.fixture(scope="module")
def models():
    return [row for row in rows("annotations.jsonl") if row["published"]]


@pytest.fixture(scope="module")
def gamed(difficulty):
    found = rows("gamed_baselines_reconstructed.jsonl")
    return Gamed(
        np.array([row["std_delta_len"] for row in found]),
        difficulty[[row["index"] for row in found]],
        np.array([row["expected_preference"] for row in found]),
    )


def test_win_rates_errors_and_counts(models):
    assert len(models) >= 25
    for row in models:
        found = alpaca_figures(row["preference"])
        for name in ("win_rate", "standard_error", "discrete_win_rate", *COUNTS):
            assert found[name] == pytest.approx(row["published"][name], abs=1e-6), row["model"]


def test_length_controlled_rates_by_the_published_weights(models, difficulty):
    with (ORACLE / "glm_weights.csv").open() as file:
        header, *lines = csv.reader(file)
    assert header[1:] == [
        "np.tanh(std_delta_len)",
        "instruction_difficulty",
        "not_gamed_baseline.astype(float)",
    ]
    weights = {name: Weights(*map(float, values)) for name, *values in lines}
    gaps = []
    for row in models:
        # Judgments that are fewer than the instructions stand for the first ones, as published.
        rate = alpaca_win_rate(weights[row["model"]], difficulty[: row["n"]])
        gaps.append(abs(rate - row["published"]["length_controlled_winrate"]))
    assert np.median(gaps) < 1e-6
    assert (
        np.mean(np.array(gaps) < 1e-6) > 0.75
    )  # some rates are not what the published weights give


def test_the_whole_fit(models, difficulty, gamed):
    """The published fit has a penalty that ours lacks: a third of the rate's standard error is allowed."""
    start = time.monotonic()
    for row in models:
        own = difficulty[: row["n"]]
        fit = alpaca_fit(
            preferences_of(row["preference"]), row["len_baseline"], row["len_model"], own, gamed
        )
        rate = alpaca_win_rate(fit, own)
        error = row["published"]["standard_error"]
        gap = abs(rate - row["published"]["length_controlled_winrate"])
        assert gap < max(error, 0.5) / 3, row["model"]
    assert time.monotonic() - start < 20


def test_what_was_not_judged_is_left_out(models, difficulty, gamed):
    row = models[0]
    holes = [None if k % 100 == 0 else one for k, one in enumerate(row["preference"])]
    assert alpaca_figures(holes)["n_total"] == row["n"] - 9
    lengths = row["len_baseline"], row["len_model"]
    whole = alpaca_fit(preferences_of(row["preference"]), *lengths, difficulty, gamed)
    fewer = alpaca_fit(preferences_of(holes), *lengths, difficulty, gamed)
    assert fewer.model == pytest.approx(whole.model, abs=0.05)
    with pytest.raises(ValueError, match="nothing was judged"):
        alpaca_figures([None, float("nan")])


def test_the_judges_tokens_give_the_preferences():
    for row in rows("judge_logprobs.jsonl"):
        share = share_of_verdict(row["top_logprobs"])
        wanted = row["preference"] - 1
        assert min(abs(share - wanted), abs(1 - share - wanted)) < 1e-8
