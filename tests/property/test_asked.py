"""Prompts as texts and digests: one at a time and in columns they are the same."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from croco.asked import NONE, digest, digests, text_of_turns, texts_of_turns
from croco.pairing.values import FORM

TURN = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "user", "assistant"]),
        "content": st.text("aé ", max_size=3),
    }
)
TURNS = st.lists(st.none() | st.lists(TURN, max_size=4), max_size=12)


@settings(deadline=None)  # the first call loads Arrow's functions
@given(TURNS, st.integers(0, 2))
def test_texts_of_columns_are_those_of_rows(conversations, start):
    column = pa.array(conversations, FORM["messages"]).slice(start)
    found = texts_of_turns(column).to_pylist()
    assert found == [text_of_turns(own) if own else None for own in conversations[start:]]


@given(TURNS, st.lists(st.none() | st.text("aé ", max_size=2), min_size=12, max_size=12))
def test_a_prompt_of_its_own_goes_before_the_turns_before_the_answer(conversations, prompts):
    prompts = prompts[: len(conversations)]
    column = pa.chunked_array([pa.array(conversations, FORM["messages"])])
    found = digests(pa.chunked_array([pa.array(prompts, pa.string())]), column)
    for one, prompt, own in zip(found.tolist(), prompts, conversations, strict=True):
        before = own[:-1] if own and own[-1]["role"] == "assistant" else own
        text = prompt if prompt is not None else text_of_turns(before) if before else None
        assert one == (NONE if text is None else digest(text))


@given(st.text(max_size=5), st.text(max_size=5))
def test_digests_are_equal_where_prompts_are(one, other):
    assert digest(one) == digest(f" {one}\n") != NONE
    if one.strip() != other.strip() and (one + other).isascii() and (one + other).isprintable():
        assert digest(one) != digest(other)


def test_what_shows_nothing_makes_no_other_prompt():
    assert digest("\u00bfQu\u00e9 r\u00edo?") == digest("\u200e\u00bfQue\u0301 ri\u0301o?\ufeff")
