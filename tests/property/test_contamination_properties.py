"""What must hold of any prompts: what is inside is found, and order and repetition change nothing."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from croco import contamination
from croco.contamination import SHORT, overlaps, size_of, words
from croco.records import Prompt

WORD = st.text("abcdefgh", min_size=1, max_size=4)
TEXT = st.lists(WORD, min_size=1, max_size=30).map(" ".join)
PROMPTS = st.lists(TEXT, min_size=1, max_size=8)


def as_prompts(texts, prefix):
    return [Prompt(f"{prefix}{k}", "en", text) for k, text in enumerate(texts)]


@given(TEXT, TEXT, TEXT, PROMPTS)
def test_a_prompt_inside_another_is_found_whole(text, before, after, others):
    found = overlaps(
        [Prompt("t", "en", f"{before} {text} {after}")], as_prompts([text, *others], "h")
    )
    if len(text.split()) >= SHORT:
        assert ("h0", 1.0) in {(row.id, row.share) for row in found}


def likeness(train, held):
    """The kinds and shares of a pair, by the definition in the documentation."""
    own, other = words(held), words(train)
    characters = 2 * sum(len(word) == 1 for word in own) > len(own)
    if own == other:
        yield "exact", 1.0
    if len(own) >= 3 and sorted(own) == sorted(other):
        yield "words", 1.0
    missing, more = Counter(own) - Counter(other), Counter(other) - Counter(own)
    if 5 <= len(own) < 8 and not characters and missing.total() < 2 and more.total() < 2:
        yield "words", 1 - missing.total() / len(own)
    n = size_of(len(own), characters=characters)
    runs = [{tuple(text[k : k + n]) for k in range(len(text) - n + 1)} for text in (own, other)]
    if n and len(runs[0] & runs[1]) >= len(runs[0]) / 2:
        yield "ngram", len(runs[0] & runs[1]) / len(runs[0])


@given(PROMPTS, PROMPTS)
def test_shares_are_those_of_the_definition(train, heldout):
    found = {
        (row.id, row.train_id): row.share
        for row in overlaps(as_prompts(train, "t"), as_prompts(heldout, "h"))
    }
    wanted = {}
    for t, text in enumerate(train):
        for h, held in enumerate(heldout):
            if shares := [share for _, share in likeness(text, held)]:
                wanted[f"h{h}", f"t{t}"] = max(shares)
    assert found == pytest.approx(wanted)


@given(st.lists(WORD, min_size=5, max_size=40), WORD, st.randoms())
def test_one_word_hides_nothing(own, other, draw):
    """Words that differ, so that a changed one changes nothing else."""
    own = [f"{word}{k}x" for k, word in enumerate(own)]
    at = draw.randrange(len(own))
    for changed in ([*own[:at], other, *own[at + 1 :]], [*own[:at], *own[at + 1 :]]):
        assert overlaps(as_prompts([" ".join(changed)], "t"), as_prompts([" ".join(own)], "h"))
    draw.shuffle(mixed := [*own])
    assert overlaps(as_prompts([" ".join(mixed)], "t"), as_prompts([" ".join(own)], "h"))


@given(PROMPTS, PROMPTS)
def test_prompts_read_a_few_at_a_time_give_the_same(train, heldout):
    sides = as_prompts(train, "t"), as_prompts(heldout, "h")
    whole = overlaps(*sides)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contamination, "CHUNK", 2)
        patch.setattr(contamination, "AT_ONCE", 3)
        assert overlaps(*sides) == whole


@given(PROMPTS, PROMPTS, st.randoms())
def test_order_does_not_matter(train, heldout, draw):
    one, other = as_prompts(train, "t"), as_prompts(heldout, "h")
    before = overlaps(one, other)
    draw.shuffle(one)
    draw.shuffle(other)
    assert overlaps(one, other) == before


@given(st.text(max_size=60))
@settings(max_examples=300)
def test_any_text_gives_words_without_case_or_space(text):
    for word in words(text):
        assert word
        assert not any(c.isspace() for c in word)
    assert words(text.upper().lower()) == words(text.upper())
