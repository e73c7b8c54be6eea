"""What is read off texts: marks that tell unequal texts apart, blanks, and likeness by pieces."""

import unicodedata

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from croco.pairing.build import text_codes
from croco.pairing.facts import MINIMA, marks, near_duplicates, signatures
from croco.texts import is_blank, same_text, same_texts

TEXTS = st.lists(
    st.text(
        st.sampled_from("abe \n\u3000\u00a0é語\0\u0301\u200b\u1100\u1161\u212b\u1f71\x1c"),
        max_size=12,
    ),
    max_size=30,
)


@given(TEXTS, st.integers(0, 3))
def test_equal_texts_have_equal_marks_and_blank_ones_are_known(texts, start):
    mark, blank = marks(pa.array(["filler", "", "xy", *texts], pa.string()).slice(start))
    seen = ["filler", "", "xy", *texts][start:]
    assert blank.tolist() == [not same_text(text) for text in seen]
    first = {}
    for text, one in zip(seen, mark, strict=True):
        assert first.setdefault(same_text(text), one) == one


@given(TEXTS)
def test_keys_of_many_texts_are_those_of_each(texts):
    assert same_texts(pa.array(texts, pa.string())).to_pylist() == [same_text(t) for t in texts]


@given(st.text())
def test_a_text_is_one_with_its_forms_and_blank_where_its_key_is_empty(text):
    form = unicodedata.normalize("NFD", text)
    assert same_text(text) == same_text(form) == same_text(f"\ufeff{text}\u200b\n")
    assert is_blank(text) == (not same_text(text))


def test_marks_tell_most_texts_apart():
    texts = [f"in the middle is {k * 7919} of its own" for k in range(1000)]
    assert len(set(marks(pa.array(texts))[0].tolist())) > 900


@given(TEXTS, st.data())
def test_codes_are_equal_in_a_pool_exactly_where_texts_are(texts, data):
    n = len(texts)
    pool = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)), np.int64)
    reward = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), np.float64)
    mark, _ = marks(pa.array(texts, pa.string()))
    codes = text_codes(pool, [mark, reward], lambda rows: [texts[k] for k in rows])
    for i in range(n):
        for j in range(i):
            if pool[i] == pool[j]:
                assert (codes[i] == codes[j]) == (texts[i] == texts[j])
                if reward[i] == reward[j]:
                    assert (codes[i] < codes[j]) == (texts[i] < texts[j])


def test_signatures_estimate_the_share_of_common_pieces():
    draw = np.random.default_rng(0)
    words = ["".join(chr(97 + c) for c in draw.integers(0, 26, 8)) for _ in range(80)]
    one, other = " ".join(words[:60]), " ".join(words[20:])
    pieces = [{text[k : k + 5] for k in range(len(text) - 4)} for text in (one, other)]
    share = len(pieces[0] & pieces[1]) / len(pieces[0] | pieces[1])
    first, second = signatures([one, other])
    assert abs((first == second).mean() - share) < 4 * 0.5 / MINIMA**0.5
    same = signatures(["The Cat  sat on the mat", "the cat sat on the mat"])
    assert (same[0] == same[1]).all()


def test_near_duplicates_are_like_a_better_one_that_is_kept():
    rows = signatures(["a b c d e f g", "quite another text", "A b c  d e f g"])
    assert near_duplicates(rows, 0.9).tolist() == [False, False, True]
