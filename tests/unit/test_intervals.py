"""How often intervals hold the truth, by simulation: near 0 and 1, paired, clustered, and unequal.

Answers to a prompt share the prompt's chance, drawn from a beta distribution whose correlation between
answers is `alike`. With 1,000 trials a coverage of .95 is found within .007 (one standard error).
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from croco.stats import average, average_difference, clustered_mean, share_interval

TRIALS = 1000
#: Of the averages, which cost more.
FEWER = 300


def chances(generator, rate, alike, shape):
    """Every prompt's chance of a right answer."""
    if alike == 0 or rate in (0.0, 1.0):
        return np.full(shape, rate)
    weight = 1 / alike - 1
    return generator.beta(rate * weight, (1 - rate) * weight, shape)


def answers(generator, rate, alike, prompts, trials=TRIALS):
    """Trials x prompts x 8 answers, each 0 or 1."""
    chance = chances(generator, rate, alike, (trials, prompts, 1))
    return (generator.random((trials, prompts, 8)) < chance).astype(float)


def named(values):
    return {str(k): row for k, row in enumerate(values.tolist())}


def differences(base, tuned):
    return [
        average_difference({"en": named(one)}, {"en": named(other)}, 42, 1000).delta
        for one, other in zip(base, tuned, strict=True)
    ]


def coverage(found, truth):
    return sum(one.low - 1e-12 <= truth <= one.high + 1e-12 for one in found) / len(found)


@pytest.mark.parametrize("alike", [0.0, 0.3])
@pytest.mark.parametrize(("before", "after"), [(1.0, 0.995), (1.0, 0.99), (0.99, 0.98)])
def test_differences_near_one_are_covered_and_never_without_width(before, after, alike):
    generator = np.random.default_rng(1)
    base, tuned = (answers(generator, rate, alike, 16) for rate in (before, after))
    for sides in ((base, tuned), (1 - tuned, 1 - base)):  # near 0 it is the same
        found = differences(*sides)
        assert coverage(found, after - before) >= 0.93
        assert all(one.low < one.high for one in found)


@pytest.mark.parametrize(
    ("before", "after", "alike"),
    [(0.5, 0.5, 0.0), (0.7, 0.6, 0.0), (0.9, 0.7, 0.0), (0.5, 0.5, 0.2), (0.9, 0.7, 0.2)],
)
def test_other_differences_are_as_narrow_as_the_bootstraps(before, after, alike):
    generator = np.random.default_rng(2)
    base, tuned = (answers(generator, rate, alike, 16) for rate in (before, after))
    found = differences(base, tuned)
    assert 0.93 <= coverage(found, after - before) <= 0.97
    gaps = (tuned - base).mean(axis=2)[:200]
    plain = [clustered_mean(row[:, None].tolist(), 42, 1000) for row in gaps]
    width, before_width = (np.mean([one.high - one.low for one in some]) for some in (found, plain))
    assert width <= 1.1 * before_width


@pytest.mark.parametrize(("prompts", "rate"), [(16, 0.6), (40, 0.6), (16, 0.97)])
def test_pairs_that_share_their_luck_are_covered(prompts, rate):
    """Tuned's answers are the base's, but for one in ten, which is drawn anew."""
    generator = np.random.default_rng(3)
    base = answers(generator, rate, 0.3, prompts)
    anew = answers(generator, rate, 0.3, prompts)
    tuned = np.where(generator.random(base.shape) < 0.1, anew, base)
    assert coverage(differences(base, tuned), 0.0) >= 0.93


def test_equal_answers_still_leave_a_doubt():
    base = {str(k): [1.0, 0.0] if k % 2 else [1.0, 1.0] for k in range(16)}
    found = average_difference({"en": base}, {"en": base}, 1).delta
    assert found.mean == 0.0
    assert found.low < -0.01
    assert found.high > 0.01


def test_a_side_that_is_all_right_counts_by_prompts():
    """Clopper and Pearson's bound for 16 of 16: as though each prompt had one answer."""
    right = {str(k): [1.0] * 8 for k in range(16)}
    found = average_difference({"en": right}, {"en": right}, 1).delta
    assert (found.low, found.high) == pytest.approx((-0.2059, 0.2059), abs=1e-4)


@pytest.mark.parametrize("alike", [0.0, 0.3])
@pytest.mark.parametrize("rate", [0.6, 0.97, 0.99])
def test_single_rates_are_covered(rate, alike):
    found = [
        share_interval(row.ravel().tolist(), np.repeat(range(16), 8).tolist(), 1)
        for row in answers(np.random.default_rng(4), rate, alike, 16)
    ]
    assert coverage(found, rate) >= 0.93
    assert all(0 <= one.low < one.high <= 1 for one in found)


def unequal(generator, rate, few, apart):
    """A language with 100 prompts, and one with few, which are among the 100 or apart from them."""
    many, others = (answers(generator, rate, 0.1, n, FEWER) for n in (100, few))
    start = 100 if apart else 0
    for one, other in zip(many, others, strict=True):
        small = {str(start + k): row for k, row in enumerate(other.tolist())}
        yield {"de": named(one), "gl": small}


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    ("few", "before", "after"), [(3, 0.5, 0.5), (3, 0.7, 0.6), (5, 0.9, 0.7), (3, 1.0, 0.99)]
)
def test_an_average_over_unequal_languages_is_covered(few, before, after, apart):
    generator = np.random.default_rng(5)
    both = zip(
        unequal(generator, before, few, apart), unequal(generator, after, few, apart), strict=True
    )
    found = [average_difference(base, tuned, 42, 1000).delta for base, tuned in both]
    assert coverage(found, after - before) >= 0.93


@pytest.mark.parametrize("few", [3, 5])
def test_an_average_of_lengths_over_unequal_languages_is_covered(few):
    found = []
    for seed in range(TRIALS):
        generator = np.random.default_rng(seed)
        values = {
            lang: {str(k): [value] for k, value in enumerate(generator.normal(40, 9, n))}
            for lang, n in (("de", 100), ("gl", few))
        }
        found.append(average(values, 42, 100))
    assert 0.93 <= coverage(found, 40) <= 0.97


def test_an_average_over_a_language_with_one_prompt_has_no_interval():
    values = {"de": {str(k): [float(k % 2)] for k in range(50)}, "gl": {"0": [1.0]}}
    for scale in (1, 10):
        scaled = {
            lang: {key: [scale * one for one in row] for key, row in own.items()}
            for lang, own in values.items()
        }
        found = average(scaled, 1)
        assert found.mean == 0.75 * scale
        assert math.isnan(found.low)
        assert math.isnan(found.high)
