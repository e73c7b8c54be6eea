"""Verdicts and answers of known content give known figures."""

from __future__ import annotations

import math

import pytest

from croco.metrics import compare
from croco.records import Responses, Verdicts

NAMES = ["win_rate", "language_fidelity", "mean_length", "distinct_2", "finished"]


def responses(key, texts, lengths, reasons):
    return Responses(*key, [1], texts, [[7] * length for length in lengths], reasons)


def verdict(key, win_rate, base, tuned):
    return Verdicts(*key, win_rate, [0.0] * 2, [0.0] * 2, base, tuned, [], [])


@pytest.fixture
def arm():
    """Two prompts in German, one of them in French too, two answers a side."""
    keys = [("b", "de"), ("a", "de"), ("a", "fr")]
    rates = [1.0, 0.5, 0.25]
    verdicts = [
        verdict(key, rate, [0.0, 1.0], [1.0, 1.0]) for key, rate in zip(keys, rates, strict=True)
    ]
    base = {key: responses(key, ["x x x", "x y"], [4, 2], ["stop", "length"]) for key in keys}
    tuned = {key: responses(key, ["x y z", "x"], [5, 5], ["stop", "stop"]) for key in keys}
    return verdicts, base, tuned


def found(arm, seed=1):
    rows = compare("dpo", *arm, seed)
    return {(row.metric, row.lang): row for row in rows}


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
    assert (low, high) == (0.0, 0.5)
    assert all(math.isnan(bound) for bound in rows["win_rate", "fr"].ci)


def test_order_of_verdicts_does_not_matter(arm):
    verdicts, base, tuned = arm
    more = [*verdicts, verdict(("c", "de"), 0.1, [1.0, 1.0], [0.0, 1.0])]
    base["c", "de"], tuned["c", "de"] = base["a", "de"], tuned["a", "de"]
    forth = compare("dpo", more, base, tuned, 3)
    back = compare("dpo", more[::-1], base, tuned, 3)
    assert repr(forth) == repr(back)


def test_a_prompt_without_a_value_on_one_side_is_out_on_both(arm):
    verdicts, base, tuned = arm
    tuned["b", "de"] = responses(("b", "de"), ["x", ""], [1, 1], ["stop", "stop"])
    base["b", "de"] = responses(("b", "de"), ["x x x x", "x x x x"], [4, 4], ["stop", "stop"])
    row = found((verdicts, base, tuned))["distinct_2", "de"]
    assert (row.base, row.tuned, row.n, row.prompts) == (0.75, 1.0, 2, 1)


def test_no_verdicts_no_metrics():
    assert compare("dpo", [], {}, {}, 1) == []
