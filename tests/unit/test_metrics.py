"""Verdicts and answers of known content give known figures."""

from __future__ import annotations

import math

import pytest

from croco.comparing import judged
from croco.metrics import Answered, compare, comparisons
from croco.records import Languages, Responses, Verdicts

NAMES = [
    "win_rate",
    "win_rate_in_language",
    "win_rate_language_alone",
    "win_rate_length_controlled",
    "win_rate_language_adjusted",
    "language_fidelity",
    "mean_length",
    "distinct_2",
    "finished",
]
#: Two verdicts, one on each tuned answer, that make a prompt's win rate.
VERDICTS = {
    1.0: [["win"], ["win"]],
    0.5: [["win"], ["loss"]],
    0.25: [["tie"], ["loss"]],
    0.0: [["loss"], ["loss"]],
}


def responses(key, texts, lengths, reasons):
    return Responses(*key, [1], texts, [[7] * length for length in lengths], reasons)


def verdict(key, win_rate):
    return Verdicts(*key, [0, 1], [0, 1], VERDICTS[win_rate], [], [], [])


@pytest.fixture
def arm():
    """Two prompts in German, one of them in French too, two answers a side."""
    keys = [("b", "de"), ("a", "de"), ("a", "fr")]
    rates = [1.0, 0.5, 0.25]
    verdicts = [verdict(key, rate) for key, rate in zip(keys, rates, strict=True)]
    base = Answered(
        {key: responses(key, ["x x x", "x y"], [4, 2], ["stop", "length"]) for key in keys},
        {key: Languages(*key, ["en", key[1]]) for key in keys},
    )
    tuned = Answered(
        {key: responses(key, ["x y z", "x"], [5, 5], ["stop", "stop"]) for key in keys},
        {key: Languages(*key, [key[1], key[1] + "-CH"]) for key in keys},
    )
    return verdicts, base, tuned


def measured(verdicts, base, tuned, seed):
    figures = judged(comparisons(verdicts, base, tuned), seed, 500)
    return compare("dpo", figures, base, tuned, seed)


def found(arm, seed=1):
    return {(row.metric, row.lang): row for row in measured(*arm, seed)}


def test_every_metric_in_every_language_and_on_average(arm):
    assert list(found(arm)) == [(name, lang) for name in NAMES for lang in ("de", "fr", "mul")]
    assert {row.arm for row in found(arm).values()} == {"dpo"}


def test_win_rate_is_against_one_half(arm):
    rows = found(arm)
    german, average = rows["win_rate", "de"], rows["win_rate", "mul"]
    assert (german.base, german.tuned, german.delta) == (0.5, 0.75, 0.25)
    assert (average.base, average.tuned, average.delta) == (0.5, 0.5, 0.0)


@pytest.mark.parametrize(
    ("metric", "base", "tuned"),
    [
        ("language_fidelity", 0.5, 1.0),
        ("mean_length", 3.0, 5.0),
        # base: "x x x" has one distinct pair of two, "x y" one of one; tuned: "x" has none at all.
        ("distinct_2", 0.75, 1.0),
        ("finished", 0.5, 1.0),
    ],
)
def test_the_other_metrics(arm, metric, base, tuned):
    for lang in ("de", "fr", "mul"):
        row = found(arm)[metric, lang]
        assert (row.base, row.tuned, row.delta) == (base, tuned, tuned - base)


def test_n_counts_answers_and_prompts_counts_clusters(arm):
    rows = found(arm)
    assert [
        (rows["finished", lang].n, rows["finished", lang].prompts) for lang in ("de", "fr")
    ] == [
        (4, 2),
        (2, 1),
    ]
    assert (rows["finished", "mul"].n, rows["finished", "mul"].prompts) == (6, 2)


def test_interval_is_of_delta_and_missing_for_one_prompt(arm):
    rows = found(arm)
    low, high = rows["win_rate", "de"].ci
    assert -0.5 <= low < 0.0 < 0.25 < high <= 0.5  # two prompts say little
    assert all(math.isnan(bound) for bound in rows["win_rate", "fr"].ci)


def test_order_of_verdicts_does_not_matter(arm):
    verdicts, base, tuned = arm
    more = [*verdicts, verdict(("c", "de"), 0.0)]
    base.responses["c", "de"] = base.responses["a", "de"]
    tuned.responses["c", "de"] = tuned.responses["a", "de"]
    forth = measured(more, base, tuned, 3)
    back = measured(more[::-1], base, tuned, 3)
    assert repr(forth) == repr(back)


def test_a_prompt_without_a_value_on_one_side_is_out_on_both(arm):
    verdicts, base, tuned = arm
    tuned.responses["b", "de"] = responses(("b", "de"), ["x", ""], [1, 1], ["stop", "stop"])
    base.responses["b", "de"] = responses(
        ("b", "de"), ["x x x x", "x x x x"], [4, 4], ["stop", "stop"]
    )
    row = found((verdicts, base, tuned))["distinct_2", "de"]
    assert (row.base, row.tuned, row.n, row.prompts) == (0.75, 1.0, 2, 1)


def test_what_was_not_judged_or_not_identified_is_measured_in_all_else(arm):
    verdicts, base, tuned = arm
    del tuned.languages["a", "fr"]
    rows = found((verdicts[:1], base, tuned))
    assert [lang for name, lang in rows if name == "win_rate"] == ["de", "mul"]
    assert [lang for name, lang in rows if name == "language_fidelity"] == ["de", "mul"]
    assert rows["win_rate", "mul"].prompts == 1
    assert rows["language_fidelity", "mul"].prompts == 2
    assert rows["finished", "fr"].n == 2


def test_no_answers_no_metrics():
    assert measured([], Answered({}, {}), Answered({}, {}), 1) == []


def test_rates_by_language_count_what_they_are_of(arm):
    """In German base's first answer is in English, and tuned's are both in German."""
    rows = found(arm)
    own, alone = rows["win_rate_in_language", "de"], rows["win_rate_language_alone", "de"]
    assert (own.tuned, own.n, own.prompts) == (0.5, 2, 2)  # second answers: one won, one lost
    assert (alone.tuned, alone.n, alone.prompts) == (0.75, 4, 2)


def test_an_answer_in_the_wrong_language_cannot_win(arm):
    """Base's first answer is in English, so that tuned's loss against it is none."""
    _, base, tuned = arm
    rows = found(([verdict(("a", "de"), 0.0)], base, tuned))
    assert rows["win_rate", "de"].tuned == 0.0
    assert rows["win_rate_language_adjusted", "de"].tuned == 0.5
