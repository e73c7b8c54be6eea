"""Pairing as a stage: sealed shards in, pairs out; pools in one language or in all."""

from types import SimpleNamespace

import pyarrow as pa
import pytest

from croco.examples import examples_of
from croco.recipe import PairConfig
from croco.records import Pairs, Responses, Rewards
from croco.schemas import encode, schema
from croco.settings import Resources
from croco.stage import Context
from croco.stages.pair import Config, pair
from croco.store import Artifact


@pytest.fixture
def sealed(tmp_path):
    """Pairs of some prompts: each a (id, lang, rewards) and what else differs of its answers."""

    def made(config, *rows, groups=None, **more):
        samples, scores = (
            Artifact(tmp_path / name, record, 1)
            for name, record in (("sample", Responses), ("score", Rewards))
        )
        for artifact in (samples, scores):
            artifact.root.mkdir()
        answers = [responses(*row, **more) for row in rows]
        samples.seal_tables(0, _pieces(answers, groups or len(answers)))
        scores.seal(0, [Rewards(*row) for row in rows if row[2] is not None])
        context = Context({"score": scores, "sample": samples}, None, Resources(), None)
        result = Artifact(tmp_path / "pair", Pairs, 1)
        result.root.mkdir()
        result.seal_tables(0, pair(Config(pair=config, seed=1, code={}), context)(0))
        return SimpleNamespace(rows=result.read(0), pairs=result, samples=samples)

    return made


def _pieces(rows, size):
    """The rows in pieces of so many, each a row group."""
    table = pa.Table.from_pylist([encode(row) for row in rows], schema=schema(Responses))
    return [table.slice(start, size) for start in range(0, len(rows), size)]


def responses(id, lang, rewards, texts=None, finish=None):
    n = len(rewards or [0, 0, 0])
    texts = texts or [f"{lang} {k}" for k in range(n)]
    ids = [[ord(lang[0]), k, 2] for k in range(n)]
    return Responses(id, lang, [1, ord(lang[0])], texts, ids, finish or ["stop"] * n, "m@1")


ES = ("p", "es", [0.0, 5.0, 1.0])
EN = ("p", "en", [9.0, 3.0, 2.0])


def test_a_monolingual_pool_is_one_language(sealed):
    made = sealed(PairConfig(), EN, ES)
    en, es = made.rows
    (one,) = es.pairs
    assert (one.prompt_lang, one.chosen.index, one.rejected.index) == ("es", 1, 0)
    assert (one.chosen.reward, one.rejected.reward) == (5.0, 0.0)
    assert (one.chosen.text, one.chosen.policy) == ("es 1", "m@1")
    assert (es.key, es.pool_size, es.fallback, es.scores) == (("p", "es"), 3, True, [0.0, 5.0, 1.0])
    assert en.pairs[0].chosen.reward == 9.0


@pytest.mark.parametrize(("shown", "lang"), [("chosen", "en"), ("rejected", "es")])
def test_a_multilingual_pool_spans_languages_and_the_prompt_follows_the_option(sealed, shown, lang):
    config = PairConfig(scope="multilingual", prompt_language=shown, rejected="min")
    (row,) = sealed(config, EN, ES).rows
    (one,) = row.pairs
    assert (one.chosen.lang, one.rejected.lang) == ("en", "es")
    assert one.prompt_lang == lang
    assert row.key == ("p", "mul")
    assert row.pool_size == 6


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_a_prompt_whose_languages_lie_in_several_pieces_is_one_pool(sealed, groups):
    rows = [
        (id, lang, [1.0, 2.0, len(id) + 0.0]) for id in ("a", "bbb", "cc") for lang in ("en", "es")
    ]
    config = PairConfig(scope="multilingual", rejected="min")
    made = sealed(config, *rows, groups=groups)
    assert [row.key for row in made.rows] == [("a", "mul"), ("bbb", "mul"), ("cc", "mul")]
    assert [row.pool_size for row in made.rows] == [6, 6, 6]


def test_training_takes_the_token_ids_that_were_sampled(sealed):
    made = sealed(PairConfig(scope="multilingual", rejected="min"), EN, ES)
    (one,) = examples_of(made.pairs, made.samples, None, "dpo")
    assert (one.prompt_ids, one.chosen_ids, one.rejected_ids) == (
        [1, ord("e")],
        [ord("e"), 0, 2],
        [ord("e"), 0, 2],
    )
    assert examples_of(made.pairs, made.samples, None, "sft")[0].rejected_ids == []


def test_a_cut_off_answer_is_not_chosen_but_counts_and_may_be_rejected(sealed):
    (row,) = sealed(PairConfig(), ES, finish=["length", "length", "stop"]).rows
    (one,) = row.pairs
    assert (one.chosen.index, one.rejected.index) == (2, 0)
    assert (row.pool_mean, row.pool_max, row.cut_off) == (2.0, 5.0, 2)
    assert [(b.index, b.may_be_rejected) for b in row.barred] == [(0, True), (1, True)]


def test_that_can_be_turned_off(sealed):
    config = PairConfig(filters={"cut_off": False})  # what YAML makes of a bare `off`
    (row,) = sealed(config, ES, finish=["length"] * 3).rows
    assert row.pairs[0].chosen.index == 1
    assert row.barred == []


def test_an_empty_answer_stands_on_no_side(sealed):
    (row,) = sealed(PairConfig(), ES, texts=[" \n", "", "c"]).rows
    assert row.pairs == []
    assert "lower reward" in row.reason
    assert row.empty == 2


def test_an_answer_in_another_language_is_filtered_where_that_is_asked(sealed):
    filters = {"wrong_language": "drop", "identifier": "fake"}
    texts = ["es:pan es:sol", "en:sun en:sea", "es:pan en:sea es:mar"]
    (row,) = sealed(PairConfig(filters=filters), ES, texts=texts).rows
    (one,) = row.pairs
    assert (one.chosen.index, one.rejected.index) == (2, 0)
    assert [(b.index, b.reason) for b in row.barred] == [
        (1, "not in the language that was asked for")
    ]


def test_near_duplicates_of_a_better_answer_are_dropped(sealed):
    texts = [
        "the cat sat on the mat today",
        "The cat sat on the mat  today.",
        "nothing of the kind",
    ]
    config = PairConfig(filters={"near_duplicates": 0.7})
    (row,) = sealed(config, ES, texts=texts).rows
    assert [(b.index, b.may_be_rejected) for b in row.barred] == [(0, False)]
    assert row.pairs[0].rejected.index == 2


def test_calibration_takes_the_languages_levels_out_and_says_what_was_before(sealed):
    high = [("a", "en", [10.0, 11.0, 13.0]), ("a", "es", [0.0, 1.0, 4.0])]
    config = PairConfig(scope="multilingual", rejected="min", normalise="zscore")
    (row,) = sealed(config, *high).rows
    (one,) = row.pairs
    assert row.raw == [["en", "es"]]
    assert one.chosen.score == pytest.approx((4 - 5 / 3) / (26 / 9) ** 0.5)
    assert (one.chosen.lang, one.chosen.reward) == ("es", 4.0)


def test_a_row_without_rewards_is_left_out(sealed):
    made = sealed(PairConfig(), EN, ("q", "en", None))
    assert [row.key for row in made.rows] == [("p", "en")]


def test_a_random_prompt_language_depends_on_the_seed_alone(sealed):
    rows = [(f"p{k}", lang, [k + 0.0, 9.0 - k, 3.5]) for k in range(8) for lang in ("en", "es")]
    config = PairConfig(scope="multilingual", prompt_language="random", rejected="random")
    langs = [row.pairs[0].prompt_lang for row in sealed(config, *sorted(rows)).rows if row.pairs]
    assert set(langs) == {"en", "es"}


def test_a_piece_of_which_no_row_has_rewards_gives_nothing(sealed):
    made = sealed(PairConfig(), ("a", "en", None), EN, groups=1)
    assert [row.key for row in made.rows] == [("p", "en")]


def test_a_pool_without_english_is_no_tie(sealed):
    config = PairConfig(scope="multilingual", normalise="reference")
    rows = [
        ("p", "es", [1.0, 2.0, 3.0]),
        ("q", "en", [1.0, 2.0, 3.0]),
        ("q", "es", [0.0, 1.0, 2.0]),
    ]
    lacking, made = sealed(config, *rows).rows
    assert "no English" in lacking.reason
    assert (lacking.best, lacking.fallback, lacking.pool_max == lacking.pool_min) == (
        0,
        False,
        False,
    )
    assert made.pairs


@pytest.mark.parametrize("rows", [("en", "es"), ("es", "en")])
def test_of_equal_answers_in_two_languages_the_tag_decides(sealed, rows):
    config = PairConfig(scope="multilingual", rejected="min")
    (row,) = sealed(
        config, *(("p", lang, [1.0, 0.0, 0.5]) for lang in rows), texts=["4", "x", "y"]
    ).rows
    assert row.pairs[0].chosen.lang == "en"
