"""The stage that identifies languages: a row per prompt, and failures that stay with their row."""

import pytest

from croco.records import Failure, Languages, Responses
from croco.stage import Item
from croco.stages.language import Config, language


def made(texts, lang="de", identifier="fake", second=None):
    row = Responses("p", lang, [1], texts, [[1]] * len(texts), ["stop"] * len(texts))
    config = Config(identifier=identifier, second=second, code={})
    [[outcome]] = language(config, None, [[Item(row.key, {"sample": row})]])
    return outcome


def test_one_row_per_prompt_in_the_order_of_its_answers():
    texts = ["de:a de:sol de:mar de:luz de:pan\nen:sol en:sol en:sol en:mar en:mar", "en:sol", ""]
    assert made(texts) == Languages(
        "p", "de", ["de", "en", "und"], [0.5, None, None], [None, None, None], []
    )


def test_a_second_identifier_names_languages_of_its_own():
    pytest.importorskip("py3langid")
    found = made(["Das Wetter ist heute schön."], second="py3langid")
    assert (found.languages, found.second) == (["und"], ["de"])


def test_an_identifier_that_fails_leaves_the_row_owed(tmp_path, monkeypatch):
    code = "class I:\n    def identify(self, texts):\n        raise ValueError('no idea')\n"
    (tmp_path / "failing_identifier.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    found = made(["x"], identifier="failing_identifier:I")
    assert found == Failure("p", "de", "ValueError: no idea")
