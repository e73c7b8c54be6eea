"""What holds of win rates and intervals whatever the values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from croco.stats import (
    average_difference,
    clustered_mean,
    distinct_n,
    paired_difference,
    win_rate,
)

numbers = st.floats(-1e6, 1e6) | st.integers(-3, 3).map(float)
scores = st.lists(numbers, min_size=1, max_size=8)
ties = st.sampled_from([0.0, 0.5, 1.0, 3.0])
clusters = st.lists(st.lists(numbers, min_size=1, max_size=4), min_size=2, max_size=8)


@given(scores, scores, ties)
def test_what_one_side_wins_the_other_loses(one, other, tie):
    assert win_rate(one, other, tie) + win_rate(other, one, tie) == pytest.approx(1, abs=1e-12)


@given(scores, ties)
def test_against_oneself_it_is_even(values, tie):
    assert win_rate(values, values, tie) == pytest.approx(0.5, abs=1e-12)


@given(st.data(), scores, scores, ties)
def test_win_rate_does_not_depend_on_order(data, one, other, tie):
    mixed = data.draw(st.permutations(one))
    assert win_rate(mixed, other, tie) == win_rate(one, other, tie)


@given(st.data(), scores, scores, ties, st.floats(0, 1e6))
def test_a_better_answer_never_lowers_the_win_rate(data, one, other, tie, gain):
    k = data.draw(st.integers(0, len(one) - 1))
    better = [*one[:k], one[k] + gain, *one[k + 1 :]]
    assert win_rate(better, other, tie) >= win_rate(one, other, tie)


@given(scores, scores)
def test_a_margin_over_everything_makes_all_ties(one, other):
    assert win_rate(one, other, 1e7) == 0.5


@settings(deadline=None)
@given(clusters, st.integers(0, 9))
def test_interval_holds_the_mean_and_stays_within_the_clusters(values, seed):
    found = clustered_mean(values, seed, resamples=200)
    means = [sum(row) / len(row) for row in values]
    assert found.low <= found.mean <= found.high
    assert found.mean == pytest.approx(sum(means) / len(means), abs=1e-6)
    assert min(means) - 1e-6 <= found.low
    assert found.high <= max(means) + 1e-6


@settings(deadline=None)
@given(clusters, st.integers(0, 9), st.floats(-100, 100))
def test_interval_moves_with_the_values(values, seed, shift):
    one = clustered_mean(values, seed, resamples=200)
    moved = clustered_mean([[v + shift for v in row] for row in values], seed, resamples=200)
    assert moved.low == pytest.approx(one.low + shift, abs=1e-6)
    assert moved.high == pytest.approx(one.high + shift, abs=1e-6)


@settings(deadline=None)
@given(clusters, st.data(), st.integers(0, 9))
def test_swapping_the_sides_mirrors_the_difference(base, data, seed):
    tuned = [data.draw(st.lists(numbers, min_size=1, max_size=4)) for _ in base]
    there = paired_difference(base, tuned, seed, resamples=200)
    back = paired_difference(tuned, base, seed, resamples=200)
    assert there.delta.mean == pytest.approx(there.tuned - there.base, abs=1e-6)
    assert there.delta.mean == pytest.approx(-back.delta.mean, abs=1e-6)
    assert there.delta.low == pytest.approx(-back.delta.high, abs=1e-6)


@settings(deadline=None)
@given(clusters, st.data())
def test_an_average_over_equal_languages_is_that_of_one(values, data):
    keys = [f"p{k}" for k in range(len(values))]
    rows = dict(zip(keys, values, strict=True))
    mixed = {key: rows[key] for key in data.draw(st.permutations(keys))}
    zero = {key: [0.0] for key in keys}
    one = average_difference({"de": zero}, {"de": rows}, 1, resamples=200)
    two = average_difference({"fr": zero, "de": zero}, {"fr": mixed, "de": rows}, 1, resamples=200)
    assert two.clusters == one.clusters
    assert two.delta.low == pytest.approx(one.delta.low, abs=1e-6)
    assert two.delta.high == pytest.approx(one.delta.high, abs=1e-6)


@given(st.lists(st.sampled_from("abc")), st.integers(1, 4))
def test_distinct_n_is_a_share(words, n):
    share = distinct_n(words, n)
    if len(words) < n:
        assert math.isnan(share)
    else:
        assert 0 < share <= 1
        assert (share == 1) == all(
            words[i : i + n] != words[j : j + n]
            for i in range(len(words) - n + 1)
            for j in range(i)
        )
