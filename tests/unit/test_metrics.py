"""Verdicts and answers of known content give known figures."""

from __future__ import annotations

import math

import pytest

from croco.comparing import judged
from croco.metrics import Answered, audit, compare, comparisons
from croco.records import Languages, Preference, Responses, Verdicts

NAMES = [
    "win_rate",
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
    assert (low, high) == (0.0, 0.5)
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


def test_an_answer_in_the_wrong_language_cannot_win(arm):
    """Base's first answer is in English, so that tuned's loss against it is none."""
    _, base, tuned = arm
    rows = found(([verdict(("a", "de"), 0.0)], base, tuned))
    assert rows["win_rate", "de"].tuned == 0.0
    assert rows["win_rate_language_adjusted", "de"].tuned == 0.5


def preference(id, lang, chosen, rejected, flaw):
    return Preference(id, lang, "p", chosen, rejected, flaw)


PAIRS = [
    preference("1", "fr", "longer", "short", "off-topic"),
    preference("1", "de", "longer", "short", "off-topic"),
    preference("1", "de", "same", "size", "repetition"),
    preference("2", "de", "s", "longer", "repetition"),
    preference("3", "de", "longer", "s", ""),
]


def test_audit_per_language_and_flaw():
    rows = audit(PAIRS, [1, 2, 1, 0, 5], [0, 1, 1, 3, 1], 1)
    assert [(row.lang, row.flaw, row.n) for row in rows] == [
        ("de", "", 4),
        ("de", "off-topic", 1),
        ("de", "repetition", 2),
        ("fr", "", 1),
        ("fr", "off-topic", 1),
    ]
    german, _, repetition, *_ = rows
    # Prompt 1: one right and one tie; prompt 2 wrong; prompt 3 right.
    assert german.accuracy == pytest.approx((0.75 + 0 + 1) / 3)
    assert german.longer_wins == pytest.approx((0.75 + 0 + 1) / 3)
    assert german.mean_margin == pytest.approx((0.5 - 3 + 4) / 3)
    assert german.ci[0] < german.accuracy < german.ci[1]
    assert (repetition.accuracy, repetition.longer_wins) == (0.25, 0.25)


def test_audit_interval_is_missing_for_one_prompt():
    french = audit(PAIRS, [1, 2, 1, 0, 5], [0, 1, 1, 3, 1], 1)[-1]
    assert french.accuracy == 1.0
    assert all(math.isnan(bound) for bound in french.ci)


def test_audit_needs_a_reward_for_every_pair():
    with pytest.raises(ValueError, match="zip"):
        audit(PAIRS, [1.0], [0.0], 1)
    with pytest.raises(ValueError, match="finite"):
        audit(PAIRS[:1], [math.nan], [0.0], 1)


def spoken(key, lines, words=(), second=()):
    return Languages(*key, [key[1]] * len(lines), list(lines), list(words), list(second))


def test_lines_words_and_the_second_identifier_are_measured_where_they_are_known():
    keys = [("a", "ru"), ("b", "ru"), ("a", "de")]
    answers = {key: responses(key, ["x", "y"], [1, 1], ["stop"] * 2) for key in keys}
    base = Answered(
        answers,
        {
            ("a", "ru"): spoken(("a", "ru"), [1.0, 0.5], [0.0, None], ["ru", "en"]),
            ("b", "ru"): spoken(("b", "ru"), [None, None], [None, None], ["ru", "ru"]),
            ("a", "de"): spoken(("a", "de"), [0.0, None], [None, None]),
        },
    )
    tuned = Answered(
        answers,
        {
            ("a", "ru"): spoken(("a", "ru"), [1.0, 1.0], [1.0, 1.0], ["ru", "ru"]),
            ("b", "ru"): spoken(("b", "ru"), [1.0, 1.0], [1.0, 0.0], ["ru", "ru"]),
            ("a", "de"): spoken(("a", "de"), [1.0, 0.5], [None, None]),
        },
    )
    rows = found(([], base, tuned))
    assert [lang for name, lang in rows if name == "line_pass_rate"] == ["de", "ru", "mul"]
    # Prompt "b" has no line to judge on base's side, so it is out on both.
    lines = rows["line_pass_rate", "ru"]
    assert (lines.base, lines.tuned, lines.prompts) == (0.5, 1.0, 1)
    assert (rows["line_pass_rate", "de"].base, rows["line_pass_rate", "de"].tuned) == (0.0, 0.5)
    # German is written in Latin letters.
    assert [lang for name, lang in rows if name == "word_pass_rate"] == ["ru", "mul"]
    assert (rows["word_pass_rate", "ru"].base, rows["word_pass_rate", "ru"].tuned) == (0.0, 1.0)
    second = rows["second_fidelity", "ru"]
    assert (second.base, second.tuned, second.prompts) == (0.75, 1.0, 2)
    assert ("second_fidelity", "de") not in rows
