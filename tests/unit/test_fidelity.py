"""Which lines of an answer are judged, and when an answer passes by line and by word."""

from __future__ import annotations

import math

import pytest

from croco.fidelity import (
    Lines,
    judge_lines,
    line_pass,
    long_lines,
    pass_rates,
    response_languages,
    tokens,
    word_pass,
)
from croco.identifiers import FakeIdentifier

FAKE = FakeIdentifier()
DE, EN = "de:sol de:mar de:pan de:luz de:rio", "en:sol en:mar en:pan en:luz en:rio"


def lines(text, lang="de"):
    [found] = judge_lines([text], lang, FAKE)
    return found


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("one two three four", []),
        ("one two three four five", ["one two three four five"]),
        ("a b c d e\nshort\na b c d f", ["a b c d e", "a b c d f"]),
        ("", []),
        ("  \n ", []),
        # Punctuation goes first: these have four words left, and five.
        ("one, two - three (four) ...", []),
        ("# one two, three: four five!", [" one two three four five"]),
        ("don't stop me now please", ["dont stop me now please"]),
        # A dash parts two words, a hyphen none.
        ("one two three four\u2014five", ["one two three four five"]),
        ("one two three four-five", []),
        ("واحد، اثنان، ثلاثة، أربعة، خمسة", ["واحد اثنان ثلاثة أربعة خمسة"]),
        # The model goes on with a question of its own.
        ("a b c d e\nQ: f g h i j", ["a b c d e"]),
        ("a b c d e Q: f", ["a b c d e Q f"]),
        # Code is not left out.
        ("```\nfor i in range of five\n```", ["for i in range of five"]),
    ],
)
def test_lines_that_are_judged(text, kept):
    assert long_lines(text, "de") == kept


@pytest.mark.parametrize(
    ("line", "lang", "count"),
    [
        ("今天天气很好我", "zh", 7 / 1.6),
        ("今天天气很好我们", "zh-Hant", 8 / 1.6),
        ("私は Python 3 を使う。", "ja", 5 / 1.6 + 3),
        ("오늘 날씨가 좋다", "ko", 3),
        ("वह आज घर", "hi", 3),
    ],
)
def test_tokens(line, lang, count):
    assert tokens(line, lang) == pytest.approx(count)


def test_a_chinese_line_of_eight_characters_is_long_enough():
    assert long_lines("今天天气很好我\n今天天气很好我们", "zh") == ["今天天气很好我们"]


@pytest.mark.parametrize(
    ("text", "share", "passes"),
    [
        (DE, 1.0, 1.0),
        (EN, 0.0, 0.0),
        (f"{DE}\n{EN}", 0.5, 0.0),
        (f"{DE}\nen:sol en:mar", 1.0, 1.0),
        ("en:sol", None, None),
        ("", None, None),
        # In no language at all.
        ("1 2 3 4 5", 0.0, 0.0),
        # A program is left out.
        (f"{DE}\n```\nfor k in range(5): print(k) # en:sol en:mar en:pan en:luz\n```", 1.0, 1.0),
        # Two words of five are more than the share that is asked for, one is not.
        ("de:sol de:mar en:pan en:luz en:rio", 1.0, 1.0),
        ("de:sol en:mar en:pan en:luz en:rio", 0.0, 0.0),
    ],
)
def test_an_answer_passes_where_all_its_long_lines_do(text, share, passes):
    found = lines(text)
    assert found.lines == share
    assert line_pass(found) == passes


def test_regions_are_one_language():
    assert lines(DE, "de-CH").lines == 1.0


@pytest.mark.parametrize(
    ("line", "lang", "passes"),
    [
        ("это простой ответ на вопрос", "ru", 1.0),
        ("это простой answer на вопрос", "ru", 0.0),
        # Names and abbreviations are no words, nor are those of three letters.
        ("это Google API и the ответ", "ru", 1.0),
        ("это gpt4turbo и ответ тут", "ru", 1.0),
        ("これはtokenという意味です", "ja", 0.0),
        ("これはTokenという意味です", "ja", 1.0),
        ("我喜欢apple手机和电脑", "zh", 0.0),
        # Latin letters are what these languages are written in.
        ("das ist an answer", "de", None),
        ("ovo je answer", "sr-Latn", None),
        ("без answer", "sr-Cyrl", 0.0),
    ],
)
def test_words(line, lang, passes):
    assert word_pass([line], lang) == passes


def test_words_are_asked_for_only_where_all_lines_pass():
    good = "ru:sol ru:mar ru:pan ru:luz ru:rio"
    assert lines(good, "ru") == Lines(1.0, 0.0)
    assert lines(f"{good}\n{EN}", "ru") == Lines(0.5, None)
    assert lines("ru:sol", "ru") == Lines(None, None)
    assert lines(DE, "de") == Lines(1.0, None)


def test_response_languages():
    assert response_languages([DE, f"{DE} en:sol", "", "?!"], FAKE) == ["de", "de", "und", "und"]


def test_pass_rates():
    texts = [DE, EN, f"{DE}\n{DE}\n{EN}", "de:sol", ""]
    rates = pass_rates(texts, "de", FAKE, prompts=["a", "a", "b", "c", "c"])
    assert (rates.answers, rates.judged) == (5, 3)
    # Prompts count the same: "a" has one of two, "b" all of one, "c" one of two.
    assert rates.response.mean == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert rates.line.mean == pytest.approx((0.5 + 0) / 2)
    assert rates.lines == pytest.approx((1 + 0 + 2 / 3) / 3)
    assert rates.word is None
    assert rates.line.low < rates.line.mean < rates.line.high


def test_pass_rates_where_all_pass_still_have_an_interval():
    rates = pass_rates([DE] * 20, "de", FAKE)
    assert (rates.line.mean, rates.line.high) == (1.0, 1.0)
    assert rates.line.low == pytest.approx(0.025 ** (1 / 20))


def test_pass_rates_of_nothing():
    rates = pass_rates([], "de", FAKE)
    assert (rates.response, rates.line, rates.word, rates.lines) == (None,) * 4
    assert (rates.answers, rates.judged) == (0, 0)


def test_pass_rates_of_one_prompt_have_no_bounds():
    rates = pass_rates([DE], "de", FAKE)
    assert math.isnan(rates.line.low)


def test_each_answer_needs_a_prompt():
    with pytest.raises(ValueError, match="zip"):
        pass_rates([DE, DE], "de", FAKE, prompts=["a"])
