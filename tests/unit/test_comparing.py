"""Judged comparisons to figures: each against plain arithmetic, and what cannot be told is said."""

import dataclasses
import json
import math

import numpy as np
import pytest

from croco import length
from croco.comparing import (
    ALL_TOLD,
    Comparison,
    judged,
    length_controlled,
    prompts_needed,
    values_of,
)
from croco.paired import paired_arms
from croco.report.judged import comparisons_part
from croco.stats import Interval, tail

VALUES = {"win": 1.0, "tie": 0.5, "loss": 0.0}


def row(id, verdicts, lengths=(10, 12), lang="en", spoken=(True, True), answer=0):
    return Comparison(str(id), lang, verdicts, lengths, spoken, answer)


def sample(prompts=60, seed=0, theta=0.3, phi=0.8, langs=("en",), answers=1):
    """Comparisons whose judge follows the model of length control, in two orders."""
    draw = np.random.default_rng(seed)
    found = []
    for id in range(prompts):
        for lang in langs:
            for k in range(answers):
                base, tuned = (int(n) for n in draw.integers(50, 400, 2))
                share = 1 / (1 + math.exp(-theta - phi * math.tanh((tuned - base) / 143)))
                said = ["win" if draw.random() < share else "loss" for _ in range(2)]
                found.append(row(id, said, (base, tuned), lang, answer=k))
    return found


def test_counts_rates_and_flips_by_hand():
    rows = [
        row(1, ["win", "win"]),
        row(2, ["win", "loss"]),
        row(3, ["tie", "win"]),
        row(4, ["loss", "loss"]),
        row(5, ["none", "win"]),
    ]
    found = judged(rows, 1)["en"]
    assert (found.wins, found.ties, found.losses) == (4, 1, 3)
    assert (found.comparisons, found.unparseable, found.prompts, found.answers) == (5, 1, 4, 4)
    assert found.win_rate.mean == (4 + 0.5) / 8
    assert found.flip_rate == 0.5
    assert found.reversal_rate == 0.25
    # Base stands first in the first order: of 7 decided judgments the first won in 1, 3 and 4 once each.
    assert found.first_wins == 3 / 7
    assert found.notes[0] == "1 of 5 comparisons lack a verdict and stand in no rate"
    assert judged(rows, 1)["mul"].win_rate == found.win_rate


@pytest.mark.parametrize(
    ("verdict", "base", "tuned", "adjusted"),
    [
        ("win", True, True, 1.0),
        ("win", True, False, 0.0),
        ("win", False, False, 0.5),
        ("win", False, True, 1.0),
        ("loss", False, True, 1.0),
        ("loss", True, False, 0.0),
        ("loss", False, False, 0.5),
        ("loss", True, True, 0.0),
        ("tie", True, False, 0.5),
        ("tie", False, True, 0.5),
    ],
)
def test_an_answer_in_the_wrong_language_cannot_win(verdict, base, tuned, adjusted):
    assert row(1, [verdict], spoken=(base, tuned)).adjusted == adjusted
    assert row(1, [verdict], spoken=None).adjusted == VALUES[verdict]


def test_several_answers_to_a_prompt_weigh_as_one_prompt():
    rows = [row(1, ["win"], answer=k) for k in range(9)] + [row(2, ["loss"])]
    found = judged(rows, 1)["en"]
    assert found.win_rate.mean == 0.5
    assert found.length_controlled.mean == pytest.approx(0.5, abs=1e-3)
    assert found.flip_rate is None
    assert found.first_wins is None
    assert found.answers == 10


def test_the_length_controlled_rate_is_found_again():
    rows = sample(prompts=4000, theta=0.4, phi=1.2)
    interval, term, notes = length_controlled(rows, 1, 200)
    assert interval.mean == pytest.approx(1 / (1 + math.exp(-0.4)), abs=0.02)
    assert term == pytest.approx(1.2, abs=0.15)
    assert interval.low < interval.mean < interval.high
    assert notes == []


def test_length_control_takes_away_what_length_alone_brings():
    """A judge that only looks at length: tuned is always longer, and wins; at equal length it does not."""
    draw = np.random.default_rng(3)
    rows = []
    for id in range(400):
        gap = int(draw.normal(60, 100))
        won = draw.random() < 1 / (1 + math.exp(-2 * math.tanh(gap / 100)))
        rows.append(row(id, ["win" if won else "loss"], (200, 200 + gap)))
    found = judged(rows, 1)["en"]
    assert found.win_rate.mean > 0.62
    assert found.length_controlled.low < 0.5 < found.length_controlled.high


def test_one_newton_step_a_resample_is_near_the_resamples_own_fit():
    rows = sample(prompts=120, seed=5)
    interval, _, _ = length_controlled(rows, 7, 400)
    gaps = np.array([r.lengths[1] - r.lengths[0] for r in rows], dtype=float)
    terms, values = length.standardised(gaps), np.array([r.value for r in rows])
    draw = np.random.default_rng(7)
    exact = []
    for _ in range(400):
        counts = np.bincount(draw.integers(0, 120, 120), minlength=120).astype(float)
        exact.append(length.sigmoid(length.length_fit(values, terms, counts)[0]))
    low, high = np.quantile(exact, [tail(120), 1 - tail(120)])
    assert interval.low == pytest.approx(low, abs=0.015)
    assert interval.high == pytest.approx(high, abs=0.015)


def test_intervals_cover_what_is_true():
    """Of 95 % intervals about that many hold the true rate: two answers a prompt, alike within it."""
    truth, covered = 1 / (1 + math.exp(-0.3)), 0
    plain, runs = 0, 200
    lengths = np.arange(50, 400)
    gaps = np.subtract.outer(lengths, lengths)
    raw = float(np.mean(1 / (1 + np.exp(-0.3 - 0.8 * np.tanh(gaps / 143)))))
    for seed in range(runs):
        found = judged(sample(prompts=80, seed=1000 + seed, answers=2), seed, 400)["en"]
        covered += found.length_controlled.low <= truth <= found.length_controlled.high
        plain += found.win_rate.low <= raw <= found.win_rate.high
    # Of 200 runs at .95 three standard errors are .046.
    assert covered / runs >= 0.90
    assert plain / runs >= 0.90


def test_one_side_always_wins():
    found = judged([row(k, ["win", "win"], (10, 10 + k)) for k in range(30)], 1)["en"]
    exact = Interval(1.0, 0.025 ** (1 / 30), 1.0)
    assert found.win_rate == found.length_controlled == exact
    assert math.isfinite(found.length_term)


def test_where_length_tells_every_verdict_no_rate_is_made_up():
    rows = [row(k, ["win" if k > 9 else "loss"], (50, 41 + k)) for k in range(30)]
    found = judged(rows, 1)["en"]
    assert math.isnan(found.length_controlled.mean)
    assert found.notes == [ALL_TOLD]
    assert found.win_rate.mean == 20 / 30
    both = judged([*rows, *sample(20, langs=("es",))], 1)
    assert both["mul"].notes == [f"{ALL_TOLD} (en)"]
    assert math.isfinite(both["es"].length_controlled.mean)


def test_arms_are_paired_by_prompt():
    draw = np.random.default_rng(2)
    one, other = [], []
    for id in range(100):
        easy = draw.random()
        for rows, better in ((one, 0.0), (other, 0.2)):
            said = ["win" if draw.random() < 0.6 * easy + better else "loss"] * 2
            rows.append(row(id, said))
    found = paired_arms(one, other, 1)
    assert found.difference.mean == pytest.approx(
        np.mean([b.value - a.value for a, b in zip(one, other, strict=True)])
    )
    assert found.prompts == 100
    assert found.p_value < 0.05
    assert found.difference.low > 0
    same = paired_arms(one, one, 1)
    assert (same.p_value, same.difference.mean) == (1.0, 0.0)


def test_the_sign_test_is_scipys():
    from scipy.stats import permutation_test

    one, other = sample(30, seed=1), sample(30, seed=2, theta=0.9)
    gaps = np.array([b.value - a.value for a, b in zip(one, other, strict=True)])
    wanted = permutation_test(
        (gaps,), np.mean, permutation_type="samples", n_resamples=9999, vectorized=False, rng=0
    )
    assert paired_arms(one, other, 3).p_value == pytest.approx(wanted.pvalue, abs=0.02)


def test_arms_of_other_prompts_are_told():
    one, other = [row(k, ["win"]) for k in range(5)], [row(k, ["loss"]) for k in range(3, 9)]
    found = paired_arms(one, other, 1)
    assert found.prompts == 2
    assert found.notes == ["7 prompts stand on one side only and are left out"]
    alone = paired_arms(one, [row(20, ["win"])], 1)
    assert alone.notes[-1] == "the arms share no judged prompt"


def test_prompts_needed_follow_the_spread():
    values = {"en": {str(k): [float(k % 2)] for k in range(1000)}}
    needed = prompts_needed(values)
    assert needed[10] == math.ceil((2.801585 * 0.50025 / 0.1) ** 2)
    assert needed[2] == pytest.approx(25 * needed[10], rel=0.02)
    assert prompts_needed({"en": {"1": [0.5], "2": [0.5]}}) == {}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "nothing was judged"),
        ([row(k, ["none", "win"]) for k in range(3)], "no verdict in its format on any of 3"),
        ([row(k, ["tie", "tie"], (1, k)) for k in range(5)], "every verdict is a tie"),
        ([row(k, ["win", "loss"]) for k in range(5)], "there is no length term"),
        ([row(1, ["win", "loss"])], "there is one prompt only"),
    ],
)
def test_what_cannot_be_told_is_said_and_no_nan_is_written(rows, said):
    found = judged(rows, 1)
    assert any(said in note for note in found["mul"].notes)
    part = comparisons_part({"arm": rows, "other": rows}, {"arm": found, "other": found}, 1)
    assert said in json.dumps(part.figures, allow_nan=False)


def test_what_is_unparseable_leaves_the_others_as_they_are():
    rows = sample(20)
    more = [*rows, row("x", ["none", "none"])]
    plain, with_more = judged(rows, 1)["en"], judged(more, 1)["en"]
    assert dataclasses.replace(with_more, comparisons=20, unparseable=0, notes=[]) == plain
    assert values_of(more) == values_of(rows)


def test_an_average_over_a_language_with_one_prompt_says_why_it_has_no_interval():
    rows = [Comparison(f"p{k}", "de", ["win" if k % 2 else "loss"], (9, 8 + k)) for k in range(9)]
    found = judged([*rows, Comparison("p0", "gl", ["win"], (9, 9))], 1, 100)
    assert found["mul"].win_rate.mean == pytest.approx((4 / 9 + 1) / 2)
    assert math.isnan(found["mul"].win_rate.low)
    assert any("one prompt only in gl" in note for note in found["mul"].notes)
    assert math.isfinite(found["de"].win_rate.low)


def test_prompts_that_are_all_alike_but_for_rounding_need_no_number():
    third = {"en": {str(k): [0.0, 0.5, 0.5, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0] for k in range(7)}}
    assert prompts_needed(third) == {}


def arm_rows(rates, prompts=40):
    """Comparisons by language, of which that share is won; the same prompts whatever the rates."""
    return [
        row(
            f"h{k}", ["win" if (k * 7) % prompts < rate * prompts else "loss"], (9, 9 + k % 3), lang
        )
        for lang, rate in rates.items()
        for k in range(prompts)
    ]


def paired_rows(arms, trained=("es",)):
    found = {arm: judged(rows, 42, 500, trained) for arm, rows in arms.items()}
    part = comparisons_part(arms, found, 42)
    return part.figures, {one["lang"]: one for one in part.figures["paired"]}


def test_paired_arms_have_one_figure_per_scope_and_no_mixture():
    arms = {"one": arm_rows({"es": 0.5, "it": 0.9}), "other": arm_rows({"es": 0.7, "it": 0.3})}
    figures, paired = paired_rows(arms)
    assert list(paired) == ["average", "average (not trained)", "es", "it"]
    for lang, own in paired.items():
        shown = [figures[arm]["languages"][lang]["win_rate"]["rate"] for arm in ("one", "other")]
        assert own["rates"] == pytest.approx(shown)
        assert own["difference"] == pytest.approx(shown[1] - shown[0])
        assert own["ci"][0] < own["difference"] < own["ci"][1]
    assert paired["average"]["difference"] == pytest.approx(0.2)
    assert paired["average (not trained)"]["difference"] == pytest.approx(-0.6)
    assert paired["average"]["languages"] == ["es"]


def test_paired_arms_are_compared_in_the_languages_that_both_have():
    arms = {"one": arm_rows({"es": 0.5, "fr": 0.9}), "other": arm_rows({"es": 0.7})}
    _, paired = paired_rows(arms, ("es", "fr"))
    assert list(paired) == ["average", "es"]
    assert paired["average"]["languages"] == ["es"]
    assert paired["average"]["difference"] == pytest.approx(0.2)
    assert paired["average"]["rates"] == pytest.approx([0.5, 0.7])


#: Verdict, and whether base and tuned are in the prompt's language.
SPOKEN = [
    ("win", (False, True)),
    ("win", (False, True)),
    ("win", (True, True)),
    ("loss", (True, True)),
    ("loss", (True, False)),
    ("win", (False, False)),
    ("win", (None, True)),  # cannot be told: not known to be wrong
    ("loss", (False, None)),
]


def test_what_the_languages_have_to_do_with_the_win_rate():
    rows = [row("p", [said], spoken=spoken, answer=k) for k, (said, spoken) in enumerate(SPOKEN)]
    rows += [row("q", ["win"], spoken=(True, True)), row("r", ["loss"], spoken=None)]
    own = judged(rows, 1, 100)["en"]
    assert own.win_rate.mean == pytest.approx((5 / 8 + 1 + 0) / 3)
    # Both in the language: of p two wins and a loss, of q its win; r's languages are not known.
    assert own.in_language.mean == pytest.approx((2 / 3 + 1) / 2)
    assert own.in_language_share.mean == pytest.approx((3 / 8 + 1) / 2)
    assert (own.in_language_prompts, own.in_language_answers) == (2, 4)
    # By language alone p has three wins, a loss and four ties; q ties.
    assert own.language_alone.mean == pytest.approx(((3 + 4 / 2) / 8 + 0.5) / 2)
    assert own.language_unknown == 1


def test_rates_by_language_are_in_the_part_per_language_and_on_average():
    rows = [
        row(f"{lang}{k}", [said], spoken=spoken, lang=lang)
        for lang in ("de", "fr")
        for k, (said, spoken) in enumerate(SPOKEN)
    ]
    part = comparisons_part({"dpo": rows}, {"dpo": judged(rows, 1, 100)}, 1)
    for own in part.figures["dpo"]["languages"].values():
        assert own["in_language"]["rate"] == pytest.approx(2 / 3)
        assert own["in_language"]["share"] == pytest.approx(3 / 8)
        assert own["in_language"]["prompts"] == 3 * (1 if own["prompts"] == 8 else 2)
        assert own["language_alone"]["rate"] == pytest.approx(5 / 8)
        assert own["language_alone"]["ci"][0] < 5 / 8 < own["language_alone"]["ci"][1]


def test_an_average_names_the_language_in_which_no_two_answers_are_in_it():
    rows = [row(f"p{k}", ["win"], spoken=(True, True), lang="de") for k in range(4)]
    rows += [row(f"p{k}", ["win"], spoken=(False, True), lang="gl") for k in range(4)]
    found = judged(rows, 1, 100)
    assert math.isnan(found["gl"].in_language.mean)
    assert found["mul"].in_language.mean == 1.0
    assert any("no comparison in gl" in note for note in found["mul"].notes)
