"""Training prompts that give evaluation prompts away: planted ones are found, and no others."""

import json
import os
from pathlib import Path

import pytest

from croco.contamination import overlaps, words
from croco.datafiles import read_prompts, refer
from croco.records import MULTIPLE, Overlap, Prompt, Turn

DATA = Path(os.environ.get("CROCO_DATA", Path(__file__).parents[3] / "shared" / "data"))
PARALLEL = DATA / "parallel_prompts"
needs_data = pytest.mark.skipif(not PARALLEL.exists(), reason="the data is not here")
HELD = Prompt("h", "en", "Tell me how to bake a loaf of rye bread without any yeast, please.")


def kinds(train, heldout=HELD):
    return [(row.kind, row.train_lang, row.lang) for row in overlaps([train], [heldout])]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("L\u2019eau, l'air!", ["l", "eau", "l", "air"]),
        ("l&#39;air", ["l", "air"]),
        ("\uff26\uff35\uff2c\uff2c \ufb01ne Straße", ["full", "fine", "strasse"]),
        ("Cad e\u0301 seo?\nZero\u200bwidth so\u00adft", ["cad", "é", "seo", "zerowidth", "soft"]),
        ("snake_case 12 + 5", ["snake", "case", "12", "+", "5"]),
        ("写一首诗 now", ["写", "一", "首", "诗", "now"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
    ],
)
def test_words_have_no_case_punctuation_or_spaces(text, found):
    assert words(text) == found


def test_the_same_words_are_the_same_text_in_whatever_language_they_are_marked():
    assert kinds(
        Prompt("t", "da", "  tell me HOW to bake a loaf\nof rye bread — without any yeast; please")
    ) == [("exact", "da", "en")]


def test_a_text_inside_another_is_found_and_a_part_of_it_is_not():
    wrapped = f"You are a baker. {HELD.prompt} Answer in French."
    assert kinds(Prompt("t", "en", wrapped)) == [("ngram", "en", "en")]
    assert kinds(Prompt("t", "en", "Tell me how to bake a loaf of rye bread")) == []


def test_shares_are_of_the_evaluation_prompts_own_ngrams():
    held = Prompt("h", "en", "a b c d e f g h i j k l")  # 5 runs of 8 words
    (row,) = overlaps([Prompt("t", "en", "x a b c d e f g h i j y")], [held])
    assert row == Overlap("h", "en", "t", "en", "ngram", pytest.approx(3 / 5))
    assert overlaps([Prompt("t", "en", "x a b c d e f g h i y")], [held]) == []


def test_half_is_too_much():
    held = Prompt("h", "en", "a b c d e f g h i")
    (row,) = overlaps([Prompt("t", "en", "x a b c d e f g h")], [held])
    assert row.share == 0.5


def test_short_prompts_are_compared_as_a_whole():
    short = Prompt("h", "en", "Who was Ada Lovelace?")
    assert kinds(Prompt("t", "en", "who was ada lovelace"), short) == [("exact", "en", "en")]
    assert kinds(Prompt("t", "en", "Please tell me: who was Ada Lovelace?"), short) == []
    assert kinds(Prompt("t", "en", "???"), Prompt("h", "en", "!!")) == []


def test_scripts_without_spaces_are_compared_by_characters():
    held = Prompt("h", "zh", "请解释一下光合作用是如何进行的。")
    assert kinds(Prompt("t", "zh", "你好、请解释一下光合作用是如何进行的。谢谢"), held) == [
        ("ngram", "zh", "zh")
    ]
    assert kinds(Prompt("t", "zh", "请解释一下相对论的基本思想是什么。"), held) == []


def test_the_same_id_is_contamination_whatever_the_texts():
    rows = overlaps(
        [Prompt("a", "en", "One"), Prompt("a", "fr", "Un")], [Prompt("a", "de", "Zwei")]
    )
    assert rows == [Overlap("a", MULTIPLE, "a", MULTIPLE, "id", 1.0)]


def test_a_conversation_counts_by_what_its_user_says():
    system = Turn(
        "system", "You are a careful and friendly teacher who explains all things step by step"
    )
    one = Prompt("t", "en", "What is a prime?", [system])
    other = Prompt("h", "en", "How do I whistle?", [system])
    assert overlaps([one], [other]) == []
    split = Prompt(
        "t",
        "en",
        "without any yeast, please.",
        [Turn("user", "Tell me how to bake a loaf of rye bread")],
    )
    assert kinds(split) == [("exact", "en", "en")]


def test_bundled_prompts_are_clean():
    train, held = (
        read_prompts([refer(f"bundled:prompts-{side}.jsonl", Path())])
        for side in ("train", "heldout")
    )
    assert overlaps(train, held) == []


def real(prefix):
    return [
        Prompt(row["id"], row["lang"], row["prompt"])
        for path in sorted(PARALLEL.glob("*.jsonl"))
        for row in map(json.loads, path.open(encoding="utf-8"))
        if row["id"].startswith(prefix)
    ]


@needs_data
@pytest.mark.parametrize(
    ("train", "heldout"),
    [("multiq:", "mtbench:"), ("multiq:", "marenahard:"), ("mtbench:", "marenahard:")],
)
def test_real_sets_of_three_sources_do_not_give_each_other_away(train, heldout):
    assert overlaps(real(train), real(heldout)) == []


@needs_data
def test_real_prompts_planted_in_irish_alone_are_found():
    """A tenth of MT-Bench, known to training in Irish only and with words around it."""
    held = real("mtbench:")
    planted = [row for row in held if row.lang == "ga" and row.id.endswith("7")]
    train = [Prompt(f"t-{row.id}", "ga", f"Dia duit! {row.prompt} Slán") for row in planted]
    found = overlaps([*real("multiq:"), *train], held)
    long = {row.id for row in planted if len(words(row.prompt)) >= 8}
    assert len(planted) == 8
    assert {row.id for row in found} == long
    assert all(row.train_id == f"t-{row.id}" and row.share == 1.0 for row in found)
