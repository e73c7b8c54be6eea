"""Figures worked out by hand, and how often the intervals hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from croco.stats import (
    Interval,
    accuracy_interval,
    average_difference,
    clustered_mean,
    distinct_n,
    grouped,
    mean_of_means,
    paired_difference,
    preferred,
    win_rate,
)


def test_win_rate_counts_all_pairs():
    # 3 beats 1 and 2; 2 beats 1 and ties with 2; of 4 pairs 3 are won and 1 is half.
    assert win_rate([3, 2], [1, 2], 0) == 3.5 / 4


def test_win_rate_tie_margin_is_inclusive():
    assert win_rate([1.5], [1.0], 0.5) == 0.5
    assert win_rate([1.5], [1.0], 0.49) == 1.0
    assert win_rate([1.0], [1.5], 0.49) == 0.0


@pytest.mark.parametrize(
    ("tuned", "base"), [([], [1.0]), ([1.0], []), ([math.nan], [0.0]), ([math.inf], [math.inf])]
)
def test_win_rate_refuses_what_it_cannot_compare(tuned, base):
    with pytest.raises(ValueError, match="score"):
        win_rate(tuned, base, 0)


def test_clusters_count_the_same_whatever_their_size():
    assert clustered_mean([[1, 1, 1], [0]], 1).mean == 0.5
    assert mean_of_means([[1, 1, 1], [0]]) == 0.5


def test_one_cluster_has_no_interval():
    one = clustered_mean([[1.0, 2.0]], 1)
    assert one.mean == 1.5
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert math.isnan(clustered_mean([], 1).mean)


def test_answers_of_one_prompt_do_not_narrow_the_interval():
    once = clustered_mean([[0.0], [1.0], [1.0], [0.0], [1.0]], 1)
    often = clustered_mean([[v] * 50 for v in (0.0, 1.0, 1.0, 0.0, 1.0)], 1)
    assert once == often


def test_interval_of_the_mean_is_near_students():
    values = np.random.default_rng(5).normal(0, 1, 40)
    half = 2.023 * values.std(ddof=1) / math.sqrt(40)  # Student's t with 39 degrees, 97.5 %
    found = clustered_mean([[v] for v in values], 1)
    assert found.low == pytest.approx(values.mean() - half, abs=0.06)
    assert found.high == pytest.approx(values.mean() + half, abs=0.06)


def test_paired_difference_uses_the_pairing():
    # Prompts differ much, but tuned is exactly one above base on each: nothing is uncertain.
    base = [[0.0, 2.0], [10.0, 12.0], [50.0, 52.0]]
    found = paired_difference(base, [[v + 1 for v in row] for row in base], 1)
    assert (found.base, found.tuned, found.clusters) == (21.0, 22.0, 3)
    assert found.delta == Interval(1.0, 1.0, 1.0)


def test_paired_difference_drops_a_cluster_that_one_side_lacks():
    found = paired_difference([[1.0], [math.nan], [3.0]], [[2.0], [9.0], [4.0]], 1)
    assert (found.base, found.tuned, found.delta.mean, found.clusters) == (2.0, 3.0, 1.0, 2)


def test_paired_difference_needs_the_same_clusters():
    with pytest.raises(ValueError, match="2 clusters of base, 1 of tuned"):
        paired_difference([[1.0], [2.0]], [[1.0]], 1)


def test_average_weighs_languages_the_same():
    base = {"de": {"a": [0.0], "b": [0.0], "c": [0.0]}, "fr": {"a": [0.0]}}
    tuned = {"de": {"a": [1.0], "b": [1.0], "c": [1.0]}, "fr": {"a": [0.0]}}
    found = average_difference(base, tuned, 1)
    assert (found.tuned, found.delta.mean, found.clusters) == (0.5, 0.5, 3)


def test_average_resamples_the_languages_of_a_prompt_together():
    # In each language half the prompts gain 9. Opposite prompts cancel; the same ones do not.
    def table(gains):
        return {
            lang: {f"p{k}": [9.0 * gain] for k, gain in enumerate(row)}
            for lang, row in gains.items()
        }

    zero = table({"de": [0] * 8, "fr": [0] * 8})
    opposite = average_difference(zero, table({"de": [0, 1] * 4, "fr": [1, 0] * 4}), 1)
    same = average_difference(zero, table({"de": [0, 1] * 4, "fr": [0, 1] * 4}), 1)
    alone = average_difference({"de": zero["de"]}, table({"de": [0, 1] * 4}), 1)
    assert opposite.delta == Interval(4.5, 4.5, 4.5)
    assert same.delta == alone.delta
    assert same.delta.high - same.delta.low > 4.5


def test_accuracy_with_ties_and_clusters():
    found = accuracy_interval([2, 1, 0, 3], [1, 1, 1, 0], ["a", "a", "b", "c"], 1)
    assert found.mean == pytest.approx((0.75 + 0 + 1) / 3)
    assert found.low < found.mean < found.high


def test_accuracy_of_all_right_keeps_a_lower_bound():
    # Clopper and Pearson for 10 of 10: [0.6915, 1].
    found = accuracy_interval([1.0] * 10, [0.0] * 10, range(10), 1)
    assert (found.mean, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.6915, abs=1e-4)
    wrong = accuracy_interval([0.0] * 10, [1.0] * 10, range(10), 1)
    assert (wrong.mean, wrong.low, wrong.high) == (0.0, 0.0, pytest.approx(0.3085, abs=1e-4))


def test_preferred_and_grouped():
    assert preferred([1, 2, 2], [2, 2, 1]) == [0.0, 0.5, 1.0]
    assert grouped([1, 2, 3], ["b", "a", "b"]) == [[1, 3], [2]]
    with pytest.raises(ValueError, match="zip"):
        preferred([1, 2], [1])


def test_distinct_n_by_hand():
    assert distinct_n("a b a b a".split(), 2) == 2 / 4
    assert distinct_n([1, 2, 3], 2) == 1.0
    assert distinct_n(["a", "a", "a"], 1) == 1 / 3
    assert math.isnan(distinct_n(["a"], 2))


@pytest.mark.parametrize("prompts", [8, 30])
def test_intervals_cover_the_truth(prompts):
    """Four answers per prompt that share the prompt's difficulty; the truth is 2 / 3.5."""
    covered = 0
    for seed in range(400):
        generator = np.random.default_rng(seed)
        difficulty = generator.beta(2, 1.5, (prompts, 1))
        wins = generator.binomial(1, difficulty, (prompts, 4)).astype(float)
        found = clustered_mean(wins.tolist(), seed, resamples=1000)
        covered += found.low <= 2 / 3.5 <= found.high
    assert 0.92 <= covered / 400 <= 0.98


def test_intervals_of_the_average_cover_the_truth():
    """Thirty prompts in three languages that share the prompt's difficulty; the truth is 0.3."""
    covered = 0
    for seed in range(400):
        generator = np.random.default_rng(seed)
        gains = 0.3 + generator.normal(0, 1, (30, 1)) + generator.normal(0, 0.5, (30, 3))
        tuned = {str(j): {str(k): [float(gains[k, j])] for k in range(30)} for j in range(3)}
        base = {lang: {key: [0.0] for key in row} for lang, row in tuned.items()}
        found = average_difference(base, tuned, seed, resamples=1000).delta
        covered += found.low <= 0.3 <= found.high
    assert 0.92 <= covered / 400 <= 0.98
