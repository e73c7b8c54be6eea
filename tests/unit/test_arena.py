"""m-ArenaHard's rows as prompts, and HTML escapes that translation left in them."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from croco.arena import ESCAPE, repaired, unescaped
from croco.datafiles import read_prompts, refer, refer_prompts
from croco.errors import DataError, RecipeError
from croco.records import Prompt, Turn
from croco.stages import prompts

DATA = Path(os.environ.get("CROCO_DATA", Path(__file__).parents[3] / "shared" / "data"))
PARALLEL = DATA / "parallel_prompts"
needs_data = pytest.mark.skipif(not PARALLEL.exists(), reason="the data is not here")
LANGUAGES = ("en", "de", "es", "fr", "it", "nl", "pt")


def arena_rows(lang):
    """The m-ArenaHard prompts of a language in the hub's shape."""
    for line in (PARALLEL / f"{lang}.jsonl").open(encoding="utf-8"):
        row = json.loads(line)
        if row["id"].startswith("marenahard:"):
            id = row["id"].removeprefix("marenahard:")
            yield {"question_id": id, "cluster": row["category"], "prompt": row["prompt"]}


@pytest.mark.parametrize(
    ("language", "lang"), [("cy", "cy"), ("Welsh", "cy"), ("English", "en"), ("PT-br", "pt-BR")]
)
def test_question_id_and_language_stand_for_id_and_lang(tmp_path, language, lang):
    row = {"question_id": "q1", "language": language, "prompt": "Hi", "category": "chat"}
    (tmp_path / "p.jsonl").write_text(json.dumps(row) + "\n")
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "p.parquet")
    for name in ("p.jsonl", "p.parquet"):
        assert read_prompts([refer(name, tmp_path)]) == [Prompt("q1", lang, "Hi")]


def test_bad_rows_of_this_shape_are_named(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"question_id": "q1", "language": "Nonsensian", "prompt": "Hi"}\n')
    with pytest.raises(DataError, match=r"p\.jsonl:1: field 'language': 'Nonsensian' is no"):
        read_prompts([refer("p.jsonl", tmp_path)])
    path.write_text('{"question_id": "q1", "prompt": "Hi"}\n')
    with pytest.raises(DataError, match=r"p\.jsonl:1: field 'lang' is missing"):
        read_prompts([refer("p.jsonl", tmp_path)])
    rows = [{"id": "a", "lang": "en", "prompt": "Hi"}, {"id": "b", "lang": "en", "prompt": None}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    with pytest.raises(DataError, match=r"p\.parquet: row 2: field 'prompt' is missing"):
        read_prompts([refer("p.parquet", tmp_path)])
    (tmp_path / "p.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match=r"p\.parquet: not a Parquet file"):
        read_prompts([refer("p.parquet", tmp_path)])


def test_a_folder_without_languages_is_refused(tmp_path):
    (tmp_path / "arena" / "no language!").mkdir(parents=True)
    (tmp_path / "arena" / "no language!" / "a.jsonl").write_text("{}\n")
    with pytest.raises(
        RecipeError, match="no Parquet or JSONL files in folders named by languages"
    ):
        refer_prompts("arena", tmp_path)


@pytest.mark.parametrize(
    ("text", "meant", "said"),
    [
        ("l&#39;eau &quot;pure&quot;", (), 'l\'eau "pure"'),
        ("if a &lt; b &amp;&amp; c", (), "if a < b && c"),
        ("&amp;#39;deux fois&amp;#39;", (), "'deux fois'"),
        ("&lt;p&gt; und &#39;so&#39;", ("&lt;", "&gt;"), "&lt;p&gt; und 'so'"),
        ("&amp;lt; bleibt", ("&lt;",), "&lt; bleibt"),
        ("AT&T; &nonsense; &", (), "AT&T; &nonsense; &"),
    ],
)
def test_escapes_are_taken_back_but_for_those_that_are_meant(text, meant, said):
    assert unescaped(text, meant) == said


def test_only_translations_with_an_english_original_are_repaired():
    rows = [
        Prompt("a", "en", "Print &quot; in HTML, don't escape"),
        Prompt("a", "fr", "Imprime &quot; en HTML, n&#39;échappe pas", [Turn("user", "l&#39;un")]),
        Prompt("b", "fr", "Sans l&#39;original"),
    ]
    found, mended = repaired(rows)
    assert found[0] == rows[0]
    assert found[1].prompt == "Imprime &quot; en HTML, n'échappe pas"
    assert found[1].before == [Turn("user", "l'un")]
    assert found[2] == rows[2]
    assert mended == {("a", "fr")}


@pytest.fixture
def local(tmp_path):
    """The real prompts in the shape of the hub's first version, which has no language column."""
    for lang in LANGUAGES:
        (tmp_path / "arena" / lang).mkdir(parents=True)
        table = pa.Table.from_pylist(list(arena_rows(lang)))
        pq.write_table(table, tmp_path / "arena" / lang / "test-00000-of-00001.parquet")
    return refer_prompts("arena", tmp_path)


def config(local, **more):
    return prompts.Config(files=[local], languages=["fr", "de"], limit=None, **more)


@needs_data
def test_real_prompts_are_repaired_and_counted(local):
    """Counts of the data as it is: 67 of 100 French and 9 of 100 German prompts have escapes."""
    rows, counts = prompts.read(config(local))
    assert {row.lang for row in rows} == {"fr", "de"}, "English was read to know what is meant"
    assert counts == {"fr": 67, "de": 9}
    assert not any(ESCAPE.search(row.prompt) for row in rows)
    raw, none = prompts.read(config(local, repair_escapes=False))
    assert not none
    assert sum(bool(ESCAPE.search(row.prompt)) for row in raw) == 76
    same = [old == new for old, new in zip(raw, rows, strict=True)]
    assert same.count(False) == 76


@needs_data
def test_english_is_never_touched(local):
    english = read_prompts([local], {"en"})
    planted = [Prompt(row.id, "en", f"{row.prompt} &#39;") for row in english]
    assert repaired(planted) == (planted, set())
