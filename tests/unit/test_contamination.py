"""Training prompts that give evaluation prompts away: planted ones are found, and no others."""

import json
import os
import unicodedata
from pathlib import Path

import pytest

from croco.contamination import overlaps, size_of, words
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
        ("Cad e\u0301 seo?\nZero\u200bwidth so\u00adft", ["cad", "e", "seo", "zerowidth", "soft"]),
        ("snake_case 12 + 5", ["snake", "case", "12", "+", "5"]),
        ("写一首诗 now", ["写", "一", "首", "诗", "now"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        (
            "\u0643\u064e\u062a\u064e\u0628\u064e \u0623\u064e\u0645\u0640\u0633",
            ["\u0643\u062a\u0628", "\u0627\u0645\u0633"],
        ),
        ("\u05e9\u05b8\u05dc\u05d5\u05b9\u05dd", ["\u05e9\u05dc\u05d5\u05dd"]),
        (
            "Ðá łódź, ĦOBŻ; Øre \u0130stanbul \u0131l\u0131k",
            "đa lodz hobz ore istanbul ilik".replace("đ", "ð").split(),
        ),
        ("한국어 ガギグ", ["한국어", "ガ", "ギ", "グ"]),
    ],
)
def test_words_have_no_case_accents_punctuation_or_spaces(text, found):
    assert words(text) == found


def test_the_same_words_are_the_same_text_in_whatever_language_they_are_marked():
    assert kinds(
        Prompt("t", "da", "  tell me HOW to bake a loaf\nof rye bread — without any yeast; please")
    ) == [("exact", "da", "en")]


def test_a_text_inside_another_is_found_and_a_part_of_it_is_not():
    wrapped = f"You are a baker. {HELD.prompt} Answer in French."
    assert kinds(Prompt("t", "en", wrapped)) == [("ngram", "en", "en")]
    assert kinds(Prompt("t", "en", "how to bake a loaf of rye bread")) == []


def test_shares_are_of_the_evaluation_prompts_own_ngrams():
    held = Prompt("h", "en", "aa bb cc dd ee ff gg hh ii jj kk ll")  # 9 runs of 4 words
    (row,) = overlaps([Prompt("t", "en", "x aa bb cc dd ee ff gg hh y")], [held])
    assert row == Overlap("h", "en", "t", "en", "ngram", pytest.approx(5 / 9))
    assert overlaps([Prompt("t", "en", "x aa bb cc dd ee ff gg y")], [held]) == []


def test_half_is_too_much():
    held = Prompt("h", "en", "aa bb cc dd ee ff gg hh")  # 6 runs of 3 words
    (row,) = overlaps([Prompt("t", "en", "x aa bb cc dd ee")], [held])
    assert row.share == 0.5


def test_ngrams_are_shorter_in_shorter_prompts():
    assert [size_of(count) for count in (4, 5, 7, 8, 10, 11, 22, 23, 100)] == [
        *(0, 5, 7, 3, 3, 4, 7, 8, 8)
    ]
    assert [size_of(count, characters=True) for count in (8, 10, 100)] == [2, 3, 8]


SHORT = Prompt("h", "en", "Who was the first queen?")


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("Who is the first queen", 0.8),
        ("who was the queen", 0.8),
        ("So who was the first queen?", 1.0),
        ("the first queen was who?", 1.0),
        ("Tell me, please, in a few words: WHO was the first queen? Thank you.", 1.0),
        ("Who is the last queen?", None),
        ("Who was the first woman who was crowned as a queen?", None),
    ],
)
def test_a_short_prompt_with_one_other_word_or_order_is_found(text, share):
    rows = overlaps([Prompt("t", "en", text)], [SHORT])
    assert [row.share for row in rows] == ([] if share is None else [pytest.approx(share)])


def test_short_prompts_of_characters_may_differ_in_one():
    one, other = "什么是爱情?", "什么是友情?"
    assert overlaps([Prompt("t", "zh", one)], [Prompt("h", "zh", other)]) == []


def test_prompts_of_four_words_are_compared_as_a_whole():
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


@pytest.fixture(scope="module")
def bundled():
    return read_prompts([refer("bundled:prompts-heldout.jsonl", Path())])


def without_accents(text):
    plain = unicodedata.normalize("NFD", text)
    return "".join(c for c in plain if not unicodedata.combining(c))


def changed(text, at):
    own = text.split()
    return " ".join([*own[:at], "banana", *own[at + 1 :]])


def swapped(text, at):
    own = text.split()
    own[at], own[at - 1] = own[at - 1], own[at]
    return " ".join(own)


EDITS = {
    "case": str.upper,
    "accents": without_accents,
    "first word": lambda text: changed(text, 0),
    "middle word": lambda text: changed(text, len(text.split()) // 2),
    "last word": lambda text: changed(text, -1),
    "order": lambda text: swapped(text, len(text.split()) // 2),
    "halves": lambda text: " ".join(
        [*text.split()[len(text.split()) // 2 :], *text.split()[: len(text.split()) // 2]]
    ),
    "inside": lambda text: f"Please answer this one question. {text} Thank you very much for that!",
}


@pytest.mark.parametrize("edit", EDITS)
def test_no_small_edit_of_a_bundled_prompt_hides_it(bundled, edit):
    train = [Prompt(f"t-{row.id}", row.lang, EDITS[edit](row.prompt)) for row in bundled]
    found = {(row.id, row.lang, row.train_id) for row in overlaps(train, bundled)}
    assert {(row.id, row.lang, f"t-{row.id}") for row in bundled} <= found
    assert all(train_id == f"t-{id}" for id, _, train_id in found)


@needs_data
@pytest.mark.parametrize(
    ("train", "heldout"),
    [("multiq:", "mtbench:"), ("multiq:", "marenahard:"), ("mtbench:", "marenahard:")],
)
def test_real_sets_of_three_sources_do_not_give_each_other_away(train, heldout):
    """Prompts of one kind share phrases by chance: one in a hundred may be named, no more."""
    held = real(heldout)
    named = {row.id for row in overlaps(real(train), held)}
    assert len(named) <= 0.01 * len({row.id for row in held})


@needs_data
def test_real_prompts_planted_in_irish_alone_are_found():
    """A tenth of MT-Bench, known to training in Irish only and with words around it."""
    held = real("mtbench:")
    planted = [row for row in held if row.lang == "ga" and row.id.endswith("7")]
    train = [Prompt(f"t-{row.id}", "ga", f"Dia duit! {row.prompt} Slán") for row in planted]
    found = overlaps([*real("multiq:"), *train], held)
    assert len(planted) == 8
    assert {row.id for row in found} == {row.id for row in planted}
    assert all(row.train_id == f"t-{row.id}" and row.share == 1.0 for row in found)
