"""Invisible answers are empty, and two forms of one text are one, wherever pairs are made and read."""

import json
import unicodedata

import pytest

from croco.datafiles import read_preferences, refer
from croco.errors import DataError
from croco.pairing.files import pair_files
from croco.recipe import Filters, PairConfig
from croco.settings import Checks
from croco.texts import is_blank, same_text
from croco.translation.checks import failed_checks

NFC, NFD = "Un caf\u00e9.", unicodedata.normalize("NFD", "Un caf\u00e9.")
INVISIBLE = [
    "\u200b\u200b",
    "\ufeff",
    "\u00a0\u2003\u3000",
    "\u202e\u202c",
    "\u2060 \u00ad",
    "\u3164",
    "\u2800",
    "\x00\x01",
    "\x7f \x85",
    "\u17b4\u17b5",
    "\u180b",
]
ONE = [
    (NFC, NFD),
    ("\u202eUn libro\u202c", "Un libro"),
    ("Una pera.", "Una pera.\n"),
    ("Una\u200b pera.", "Una pera."),
    ("Una\x00 pera.\x08", "Una pera."),
    ("\u1112\u1161\u11ab\uad6d\uc5b4", "\ud55c\uad6d\uc5b4"),
    ("10 \u212b", "10 \u00c5"),
    ("\u0958", "\u0915\u093c"),
]


def paired(tmp_path, answers, **filters):
    rows = [
        {"id": "p", "lang": "es", "prompt": "?", "response": text, "reward": float(reward)}
        for reward, text in enumerate(answers)
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = PairConfig(rejected="min", filters=Filters(**filters))
    summary = pair_files([tmp_path / "in.jsonl"], tmp_path / "out", config=config)
    found = (tmp_path / "out").glob("pairs-*.jsonl")
    return summary, [json.loads(line) for file in found for line in file.read_text().splitlines()]


@pytest.mark.parametrize("text", INVISIBLE)
def test_an_invisible_answer_is_empty(tmp_path, text):
    assert is_blank(text)
    summary, pairs = paired(tmp_path, ["No.", "Hola.", text])
    assert summary["responses"]["filtered"] == {"empty": 1}
    assert [pair["chosen"][-1]["content"] for pair in pairs] == ["Hola."]


@pytest.mark.parametrize(("one", "other"), ONE)
def test_two_forms_of_one_text_make_no_pair(tmp_path, one, other):
    assert same_text(one) == same_text(other)
    summary, pairs = paired(tmp_path, [one, other])
    assert pairs == []
    assert summary["pools"]["repeats"] == 1
    near, pairs = paired(tmp_path, [one, other, "algo muy distinto"], near_duplicates=1.0)
    assert near["responses"]["filtered"] == {"nearly the same as a better response": 1}
    assert len(pairs) == 1


def test_texts_that_differ_are_two():
    for one, other in (
        ("caf\u00e9", "cafe"),
        ("a b", "ab"),
        ("\u0410", "A"),
        ("10 \u00b2", "10 2"),
    ):
        assert same_text(one) != same_text(other)
        assert not is_blank(one)


@pytest.mark.parametrize("text", ["\u200b", "\ufeff \n"])
def test_files_and_translations_are_not_filled_by_what_shows_nothing(tmp_path, text):
    row = {"id": "p", "lang": "es", "prompt": "?", "chosen": text, "rejected": "No."}
    (tmp_path / "prefs.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match="'chosen' is empty"):
        read_preferences([refer("prefs.jsonl", tmp_path)])
    found = failed_checks(Checks(), "Hello there", text, "en", "es", [("es", 1.0)], 0)
    assert list(found) == ["empty"]
