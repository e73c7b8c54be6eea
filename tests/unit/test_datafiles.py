import json
from pathlib import Path

import pytest

from croco.datafiles import read_preferences, read_prompts, refer
from croco.errors import DataError, RecipeError
from croco.remote import fetched
from croco.store import Store

GOOD = '{"id": "a", "lang": "en", "prompt": "Hi"}\n'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "b", "lang"', "prompts.jsonl:2: not a line of JSON"),
        ('["b"]', "prompts.jsonl:2: not a JSON object"),
        ('{"id": "b", "lang": "en"}', "prompts.jsonl:2: field 'prompt' is missing"),
        ('{"id": "b", "lang": "en", "prompt": "  "}', "prompts.jsonl:2: field 'prompt' is empty"),
        (
            '{"id": "b", "lang": "en", "prompt": "\\ud800"}',
            "prompts.jsonl:2: field 'prompt' holds half",
        ),
        ('{"id": 7, "lang": "en", "prompt": "Hi"}', "prompts.jsonl:2: field 'id' is 7"),
        ('{"id": "b", "lang": "english!", "prompt": "Hi"}', "prompts.jsonl:2: field 'lang'"),
        (GOOD.strip(), "prompts.jsonl:2: (id, lang) ('a', 'en') stands already at prompts.jsonl:1"),
    ],
)
def test_bad_rows_are_named_by_file_and_line(tmp_path, line, said):
    (tmp_path / "prompts.jsonl").write_text(GOOD + line + "\n")
    with pytest.raises(DataError) as caught:
        read_prompts([refer("prompts.jsonl", tmp_path)])
    assert str(caught.value).startswith(said)
    assert caught.value.exit_code == 2


def test_bytes_that_are_not_utf8_are_named(tmp_path):
    (tmp_path / "prompts.jsonl").write_bytes(GOOD.encode() + b'{"id": "\xff"}\n')
    with pytest.raises(DataError, match=r"prompts\.jsonl:2: not a line of JSON"):
        read_prompts([refer("prompts.jsonl", tmp_path)])


def test_blank_lines_and_a_missing_last_newline_are_fine(tmp_path):
    (tmp_path / "prompts.jsonl").write_text("\n" + GOOD.strip())
    assert [row.key for row in read_prompts([refer("prompts.jsonl", tmp_path)])] == [("a", "en")]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"nowhere\.jsonl"):
        refer("nowhere.jsonl", tmp_path)


def test_tags_are_normalised(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"id": "a", "lang": "PT-br", "prompt": "Oi"}\n')
    assert read_prompts([refer("p.jsonl", tmp_path)])[0].lang == "pt-BR"


LANGUAGES = {"en", "es", "fr", "de", "it", "pt", "nl", "da", "sv", "ga"}


def test_bundled_prompts_are_parallel_and_never_mixed(tmp_path):
    train = read_prompts([refer("bundled:prompts-train.jsonl", tmp_path)])
    heldout = read_prompts([refer("bundled:prompts-heldout.jsonl", tmp_path)])
    for rows, count in ((train, 48), (heldout, 16)):
        for id in {row.id for row in rows}:
            assert {row.lang for row in rows if row.id == id} == LANGUAGES
        assert len({row.id for row in rows}) == count
    assert not {row.id for row in train} & {row.id for row in heldout}
    assert not {row.prompt for row in train} & {row.prompt for row in heldout}


def test_bundled_preferences_have_several_flaws_and_no_length_cue(tmp_path):
    train = read_preferences([refer("bundled:preferences-train.jsonl", tmp_path)])
    test = read_preferences([refer("bundled:preferences-test.jsonl", tmp_path)])
    assert len(train) >= 150
    assert {row.lang for row in train} == {"en"}
    assert len({row.flaw for row in train}) == 7
    for lang in ("en", "es", "fr", "de"):
        own = [row for row in test if row.lang == lang]
        assert len(own) >= 40
        assert 0.4 < sum(len(row.chosen) > len(row.rejected) for row in own) / len(own) < 0.6
    assert not {row.prompt for row in train} & {row.prompt for row in test}


def test_a_file_elsewhere_is_read_through_fsspec_and_again_when_it_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    there = tmp_path / "there" / "prompts.jsonl"
    there.parent.mkdir()
    for text in ("Hi", "Hello there"):
        there.write_text(json.dumps({"id": "a", "lang": "en", "prompt": text}) + "\n")
        fetched.cache_clear()
        ref = refer(f"file://{there}", tmp_path / "recipes")
        assert [row.prompt for row in read_prompts([ref])] == [text]
        assert ref.sha256 == refer(str(there), tmp_path).sha256
    with pytest.raises(RecipeError, match="cannot be read"):
        refer("nowhere://bucket/prompts.jsonl", tmp_path)
    with pytest.raises(RecipeError, match="cannot be read"):
        refer(f"file://{tmp_path}/missing.jsonl", tmp_path)


def test_a_store_on_object_storage_is_refused():
    with pytest.raises(DataError, match="must be a folder"):
        Store(Path("s3://bucket/home") / "store").check()
