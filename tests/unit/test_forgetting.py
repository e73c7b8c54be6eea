"""Sentences in, losses out, and the figures of what was forgotten: known values, no model."""

from __future__ import annotations

import json
import math

import pytest

from croco.datafiles import read_sentences, refer
from croco.errors import DataError
from croco.likelihood import load, name_for
from croco.metrics import scopes
from croco.models import ModelRef
from croco.records import UNTRAINED, Failure, Loss, Sentence
from croco.report.forgetting import forgetting, in_words, losses, trained_among
from croco.settings import Resources
from croco.stage import Context, Item
from croco.stages import loss

FAKE = ModelRef(name="fake", revision="fake")
SENTENCES = [
    {"id": 10, "lang": "de", "text": "Das Eis schwimmt."},
    {"id": 10, "lang": "it", "text": "Il ghiaccio galleggia."},
    {"id": 9, "lang": "de", "text": "Die Biene fliegt."},
    {"id": 7, "lang": "it", "text": "Il pane è buono."},
]


@pytest.fixture
def write(tmp_path):
    """A file of sentences, as a recipe would name it."""

    def call(rows):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (tmp_path / "sentences.jsonl").write_text(text, encoding="utf-8")
        return [refer("sentences.jsonl", tmp_path)]

    return call


def test_numbers_are_ids_and_keep_their_digits(write):
    rows = read_sentences(write(SENTENCES))
    assert [row.key for row in rows] == [("10", "de"), ("10", "it"), ("9", "de"), ("7", "it")]
    assert rows[3].text == "Il pane è buono."


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": 8, "lang": "de", "text": " "}, "sentences.jsonl:5: field 'text' is empty"),
        ({"id": 8, "lang": "de"}, "sentences.jsonl:5: field 'text' is missing"),
        ({"id": True, "lang": "de", "text": "x"}, "sentences.jsonl:5: field 'id' is True"),
        ({"id": 8.5, "lang": "de", "text": "x"}, "sentences.jsonl:5: field 'id' is 8.5"),
        ({"id": "9", "lang": "de", "text": "x"}, "(id, lang) ('9', 'de') stands already at"),
        ({"id": 8, "lang": "klingon!", "text": "x"}, "sentences.jsonl:5: field 'lang'"),
    ],
)
def test_a_bad_sentence_is_named_by_file_and_line(write, row, said):
    config = loss.SentencesConfig(files=write([*SENTENCES, row]), limit=None)
    with pytest.raises(DataError) as caught:
        config.check()
    assert said in str(caught.value)


def test_a_file_without_sentences_is_refused(write):
    with pytest.raises(DataError, match=r"sentences\.jsonl: no sentences"):
        loss.SentencesConfig(files=write([]), limit=None).check()


def test_the_limit_takes_the_same_ids_in_all_languages(write):
    rows = loss.read(loss.SentencesConfig(files=write(SENTENCES), limit=2))
    assert [row.key for row in rows] == [("10", "de"), ("10", "it"), ("7", "it")]


def test_which_model_reads_follows_from_the_engine():
    assert name_for("fake") == "fake"
    assert {name_for(name) for name in ("transformers", "vllm", "mine:Engine")} == {"transformers"}


def test_a_fake_adapter_changes_the_loss_and_nothing_else(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"strength": 0.5}')
    texts = ["Bees make honey", "L'eau bout à cent degrés"]
    base, tuned = (
        load("fake", FAKE, "float32", Resources(), adapter).measure(texts)
        for adapter in (None, tmp_path)
    )
    assert [(row.tokens, row.bytes) for row in base] == [(3, 15), (5, 26)]
    assert [(row.tokens, row.bytes) for row in tuned] == [(3, 15), (5, 26)]
    assert all(one.nats != other.nats for one, other in zip(base, tuned, strict=True))


def test_a_sentence_that_cannot_be_read_leaves_the_others():
    texts = ["one two", "word " * 5000, "three"]
    batch = [
        Item((str(k), "en"), {"sentences": Sentence(str(k), "en", text)})
        for k, text in enumerate(texts)
    ]
    config = loss.Config(policy=FAKE, likelihood="fake", dtype="float32")
    context = Context({}, None, Resources(), lambda *_: None)
    ((first, second, third),) = loss.loss(config, context, [batch])
    assert (first.tokens, third.tokens) == (2, 1)
    assert isinstance(second, Failure)
    assert "it has 5000 tokens and the model reads 4096" in second.error


def test_languages_are_trained_under_any_of_their_tags():
    found = trained_among(["de", "ga", "no", "pt-PT"], ["de", "nb", "pt-BR"], ["pt-PT"])
    assert found == ["de", "no"]


def test_scopes_keep_the_averages_apart():
    assert scopes(["it", "de", "fr"], ["fr", "de"]) == {
        "de": ["de"],
        "fr": ["fr"],
        "mul": ["de", "fr"],
        "it": ["it"],
        UNTRAINED: ["it"],
    }
    assert list(scopes(["it", "de"], None)) == ["de", "it", "mul"]
    assert list(scopes(["it"], [])) == ["it", UNTRAINED]


LN2 = math.log(2)


def rows_of(values):
    """Losses of ten tokens and five bytes each: (id, lang) -> bits."""
    return [Loss(*key, bits * LN2, 10, 5) for key, bits in values.items()]


BASE = rows_of({(id, lang): 40.0 for id in "abc" for lang in ("de", "it")})
TUNED = rows_of(
    {("a", "de"): 35.0, ("b", "de"): 36.0, ("c", "de"): 34.0, ("a", "it"): 50.0, ("b", "it"): 52.0}
)


def test_known_losses_give_known_figures():
    rows = {(row.metric, row.lang): row for row in losses("dpo", BASE, TUNED, ["de"], 1)}
    german, italian = rows["bits_per_byte", "de"], rows["bits_per_byte", "it"]
    assert (german.base, german.tuned, german.delta) == pytest.approx((8.0, 7.0, -1.0))
    assert german.ci[0] <= -1.0 <= german.ci[1] < 0
    assert (german.n, german.trained) == (3, True)
    assert (italian.base, italian.delta) == pytest.approx((8.0, 2.2))
    assert (italian.n, italian.trained) == (2, False)
    token = rows["loss_per_token", "de"]
    assert (token.base, token.delta) == pytest.approx((4 * LN2, -0.5 * LN2))
    assert rows["bits_per_byte", "mul"].delta == pytest.approx(-1.0)
    assert rows["bits_per_byte", UNTRAINED].delta == pytest.approx(2.2)


def test_words_name_the_languages_that_lost():
    tuned = [*TUNED, *rows_of({("c", "it"): 51.0})]
    said = in_words("dpo", losses("dpo", BASE, tuned, ["de"], 1))
    assert "of 2 languages, the loss rose in 1 (it (not trained)) and fell in 1 (de)" in said


def test_two_sentences_show_no_loss():
    said = in_words("dpo", losses("dpo", BASE, TUNED, ["de"], 1))  # in "it" 2.0 and 2.4 bits more
    assert "the loss rose in none and fell in 1 (de)" in said


class Rows:
    """A sealed stage's rows."""

    def __init__(self, rows):
        self._rows = rows

    def rows(self):
        return iter(self._rows)


def part(base, tuned, languages=("de",), untrained=()):
    keys = {row.key for row in BASE}
    inputs = {
        "sentences": Rows([Sentence(*key, "x") for key in sorted(keys)]),
        "base.loss": Rows(base),
        "dpo.loss": Rows(tuned),
    }
    recipe = {
        "languages": list(languages),
        "evaluate": {"languages": list(untrained)},
        "arms": {"dpo": {}},
        "seed": 1,
    }
    return forgetting(inputs, recipe)


def test_what_is_missing_is_counted_and_averages_are_apart():
    figures = part(BASE, TUNED, ["de", "ga"]).figures
    arm = figures["arms"]["dpo"]
    assert list(arm) == ["de", "average", "it", "average (not trained)"]
    missing = {lang: (own["trained"], own["n"], own["missing"]) for lang, own in arm.items()}
    assert missing == {
        "de": (True, 3, 0),
        "average": (True, 3, 0),
        "it": (False, 2, 1),
        "average (not trained)": (False, 2, 1),
    }
    assert (figures["sentences"], figures["without_sentences"]) == (3, ["ga"])


def test_one_sentence_has_no_interval_and_the_figures_stay_json():
    figures = part(BASE[:1], TUNED[:1]).figures
    json.dumps(figures, allow_nan=False)
    assert figures["arms"]["dpo"]["de"]["bits_per_byte"]["ci"] == [None, None]
    assert "rose in none and fell in none" in figures["in_words"][0]


def test_nothing_that_both_sides_read_is_said_and_no_error():
    made = part(BASE, [])
    assert made.figures["arms"] == {}
    assert made.section.plots == {}


def test_a_run_without_sentences_has_no_such_part():
    assert forgetting({}, {}) is None
