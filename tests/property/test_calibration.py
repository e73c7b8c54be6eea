"""Rewards made comparable across languages: each language's level is gone, the order within it stays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from croco.calibration import Rewards, fit

LANGS = ["en", "es", "ga"]
#: (prompt, language, reward): every prompt has English, so that `reference` knows all.
PROMPTS = st.lists(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-40, 40)), min_size=1, max_size=8),
    min_size=1,
    max_size=8,
)


def rows(prompts, shift=(0, 0, 0), scale=(1, 1, 1)):
    flat = [
        (k, lang, reward * scale[lang] + shift[lang])
        for k, own in enumerate(prompts)
        for lang, reward in [(0, k), *own]
    ]
    prompt, lang, reward = (np.array(column) for column in zip(*flat, strict=True))
    return Rewards(reward.astype(float), prompt, lang, LANGS)


@given(PROMPTS, st.sampled_from(["zscore", "rank", "reference"]), st.integers(-100, 100))
def test_a_languages_level_makes_no_difference(prompts, method, shift):
    plain, moved = rows(prompts), rows(prompts, shift=(0, shift, 2 * shift))
    one, two = (fit(method, [own])(own) for own in (plain, moved))
    assert one == pytest.approx(two, abs=1e-9)


@given(PROMPTS, st.sampled_from(["zscore", "rank"]))
def test_a_languages_scale_makes_no_difference(prompts, method):
    plain, wide = rows(prompts), rows(prompts, scale=(1, 4, 16))
    one, two = (fit(method, [own])(own) for own in (plain, wide))
    assert one == pytest.approx(two, abs=1e-9)


@given(PROMPTS, st.sampled_from(["zscore", "rank", "reference"]))
def test_within_a_prompt_and_language_the_order_stays(prompts, method):
    own = rows(prompts)
    scores = fit(method, [own])(own)
    for k in range(len(prompts)):
        for lang in range(3):
            here = (own.prompts == k) & (own.langs == lang)
            order = np.argsort(own.rewards[here], kind="stable")
            assert (np.diff(scores[here][order]) >= 0).all()


@given(PROMPTS, st.sampled_from(["zscore", "rank", "reference"]))
def test_parts_give_what_the_whole_gives(prompts, method):
    whole = rows(prompts)
    cut = len(prompts) // 2
    parts = [
        Rewards(whole.rewards[own], whole.prompts[own], whole.langs[own], LANGS)
        for own in (whole.prompts < cut, whole.prompts >= cut)
    ]
    assert fit(method, parts)(whole) == pytest.approx(fit(method, [whole])(whole), abs=1e-9)


def test_zscore_by_hand():
    own = Rewards(np.array([1.0, 3.0, 7.0]), np.zeros(3, int), np.array([0, 0, 1]), LANGS)
    found = fit("zscore", [own])
    assert found(own).tolist() == [-1.0, 1.0, 0.0]  # a language with one reward is only shifted
    assert found.levels == {"en": (2.0, 1.0), "es": (7.0, 0.0), "ga": (0.0, 0.0)}


def test_rank_by_hand():
    own = Rewards(np.array([5.0, 9.0, 9.0, 1.0]), np.zeros(4, int), np.zeros(4, int), LANGS)
    assert fit("rank", [own])(own).tolist() == [0.375, 0.75, 0.75, 0.125]


def test_reference_takes_the_prompts_english_level_off_first():
    # Prompt 1 is harder in both languages; Spanish is 2 below English on both.
    reward = np.array([10.0, 8.0, 8.5, 0.0, -2.0, -1.5])
    own = Rewards(reward, np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 1, 0, 1, 1]), LANGS)
    found = fit("reference", [own])
    assert found(own).tolist() == pytest.approx([0, -1, 1, 0, -1, 1])
    hard = fit("zscore", [own])(own)
    assert hard[1] > hard[5]  # what zscore makes of the same: the prompt decides


def test_reference_needs_english():
    own = Rewards(np.array([1.0, 2.0]), np.array([0, 1]), np.array([0, 1]), LANGS)
    assert np.isnan(fit("reference", [own])(own)).tolist() == [False, True]
    british = Rewards(np.array([1.0, 2.0]), np.zeros(2, int), np.array([0, 1]), ["en-GB", "es"])
    assert np.isfinite(fit("reference", [british])(british)).all()


def test_none_changes_nothing():
    own = rows([[(1, 3)]])
    assert fit("none", [own])(own) is own.rewards


@pytest.mark.parametrize("reward", [0.1, 0.3, -7.3, 1e6 + 0.1, 0.0])
@pytest.mark.parametrize("parts", [1, 3])
def test_equal_rewards_are_zero_and_not_their_rounding(reward, parts):
    """The mean of ten times 0.1 is not 0.1, by 1e-17, nor are the means of its parts."""
    prompts = np.arange(30) // 10
    flat = Rewards(np.full(30, reward), prompts, np.zeros(30, dtype=int), ["es"])
    cut = [prompts % parts == k for k in range(parts)]
    pieces = [Rewards(flat.rewards[own], prompts[own], flat.langs[own], ["es"]) for own in cut]
    found = fit("zscore", pieces)
    assert (found(flat) == 0.0).all()
    assert found.levels["es"] == (pytest.approx(reward), 0.0)


def test_rewards_equal_to_the_english_ones_are_zero_in_every_prompt():
    rewards = np.repeat([0.1, 0.7, 12.3], 6)
    langs = np.tile([0, 0, 0, 1, 1, 1], 3)
    own = Rewards(rewards, np.repeat([0, 1, 2], 6), langs, ["en", "es"])
    assert (fit("reference", [own])(own) == 0.0).all()


def test_small_but_true_differences_are_scores():
    own = Rewards(1000 + np.arange(8) * 1e-6, np.zeros(8, int), np.zeros(8, int), ["es"])
    assert fit("zscore", [own])(own).std() == pytest.approx(1.0, rel=1e-3)
