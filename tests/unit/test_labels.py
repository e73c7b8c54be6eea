"""Verdicts as judges write them: emphasis, brackets and letters of other scripts, marks of direction."""

from pathlib import Path

import pytest

from croco import templates
from croco.datafiles import refer
from croco.judging.contests import VALUES
from croco.judging.labels import verdict_in


@pytest.fixture(scope="module")
def bundled():
    return templates.read(refer("bundled:compare.yaml", Path()), VALUES)


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("[[**A**]]", "A"),
        ("[[A.]]", "A"),
        ("[[(A)]]", "A"),
        ("[[Answer A]]", "A"),
        ("[[assistant_b]]", "B"),
        ("[[\u200eA\u200f]]", "A"),
        ("[[A\u200b]]", "A"),
        ("[[\u0410]]", "A"),
        ("[[\u0412]]", "B"),
        ("[[\u0391]]", "A"),
        ("[[\uff22]]", "B"),
        ("\u3010\u3010A\u3011\u3011", "A"),
        ("\uff3b\uff3bB\uff3d\uff3d", "B"),
        ("[[A\u226bB]]", "A"),
        ("[[A&gt;B]]", "A"),
        ("[[Answer A is fine, answer B is not]]", None),
        ("[[Answers]]", None),
        ("[[A|B|C]]", None),
        ("[[AB]]", None),
    ],
)
def test_a_label_is_read_in_other_writings(bundled, text, side):
    assert verdict_in(bundled.answers_in(text))[0] == side
