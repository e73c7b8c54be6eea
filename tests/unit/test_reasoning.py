"""One place separates reasoning from the answer."""

import time

import pytest

from croco.reasoning import KNOWN, Separated, answer_of, separate

PLAIN = "En abril suele llover.\n"


def test_a_text_without_reasoning_is_the_answer_as_it_is():
    assert separate(PLAIN) == Separated("", PLAIN, True)
    assert separate("") == Separated("", "", True)


@pytest.mark.parametrize(("opening", "closing"), KNOWN)
def test_every_known_pair_of_markers(opening, closing):
    found = separate(f"{opening}\nThe user asks in Spanish.\n{closing}\n\n{PLAIN}")
    assert found == Separated("The user asks in Spanish.", PLAIN.strip())
    assert separate(f"The user asks.{closing}{PLAIN}") == Separated("The user asks.", PLAIN.strip())
    assert separate(f"{opening}The user asks [[A]]") == Separated("The user asks [[A]]", "", False)


@pytest.mark.parametrize(
    ("text", "answer", "closed"),
    [
        ("<think>\n\n</think>\n\nHola.", "Hola.", True),
        ("<THINK>a</Think> Hola.", "Hola.", True),
        ("Sure.\n<think>a</think>\nHola.", "Sure.\n\nHola.", True),
        ("<think>a</think>uno <think>b</think>dos", "uno dos", True),
        ("<think>a</think>", "", True),
        ("<think>a <think> b</think> c</think> Hola.", "Hola.", True),
        ("a</think>b</think> Hola.", "Hola.", True),
        ("<think>say `</think>` at the end</think> Hola.", "Hola.", True),
        ("<think>```python\ncode</think> Hola.", "Hola.", True),
        ('<think>"Hola" is Spanish.</think> Hola.', "Hola.", True),
        ("Hola.\n<think>once more", "", False),
        ("<think>a</reasoning> b", "", False),
        ('<think>a</think>"Hola", dijo.', '"Hola", dijo.', True),
    ],
)
def test_where_reasoning_ends(text, answer, closed):
    found = separate(text)
    assert (found.answer, found.closed) == (answer, closed)


@pytest.mark.parametrize(
    "text",
    [
        "The tags `<think>` and `</think>` enclose it.",
        'Split at "</think>" and take the end.',
        're.findall(r"<think>(.*?)</think>", text)',
        "Answer so:\n```\n<think>\n...\n</think>\nanswer\n```\nThat is all.",
        "1 < 2 and [think] of </b>",
    ],
)
def test_an_answer_may_speak_of_markers(text):
    assert separate(text) == Separated("", text)


def test_an_unclosed_block_of_code_in_reasoning_does_not_hide_its_end():
    assert answer_of("I begin with ```python and then stop.</think>Hola.") == "Hola."


def test_markers_of_ones_own_take_the_place_of_the_known_ones():
    own = [("<plan>", "</plan>")]
    assert answer_of("<plan>a</plan>Hola.", own) == "Hola."
    assert answer_of("<think>a</think>Hola.", own) == "<think>a</think>Hola."
    assert answer_of("<think>a</think>Hola.", []) == "<think>a</think>Hola."


def test_time_grows_with_the_length_alone():
    start = time.process_time()
    for text in (
        "<think>" * 50_000,
        "```" * 50_000,
        "`<think>`" * 50_000,
        "`<think>`" + "</think>`" * 50_000,
    ):
        separate(text)
    assert time.process_time() - start < 5
