"""What must hold of any prompts: what is inside is found, and order and repetition change nothing."""

from hypothesis import given, settings
from hypothesis import strategies as st

from croco.contamination import N, overlaps, words
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
    if len(text.split()) >= N:
        assert ("h0", 1.0) in {(row.id, row.share) for row in found}


@given(PROMPTS, PROMPTS)
def test_shares_are_those_of_sets_of_ngrams(train, heldout):
    def grams(text):
        own = words(text)
        return {tuple(own[k : k + N]) for k in range(len(own) - N + 1)}

    found = {
        (row.id, row.train_id): row.share
        for row in overlaps(as_prompts(train, "t"), as_prompts(heldout, "h"))
    }
    wanted = {}
    for t, text in enumerate(train):
        for h, held in enumerate(heldout):
            own = grams(held)
            share = len(own & grams(text)) / len(own) if own else 0.0
            if words(text) == words(held) or share >= 0.5:
                wanted[f"h{h}", f"t{t}"] = 1.0 if words(text) == words(held) else share
    assert found == wanted


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
