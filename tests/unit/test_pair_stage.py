"""Pairing as a stage: pools in one language or in all, prompts and token ids carried along."""

import pytest

from croco.recipe import PairConfig, Resources
from croco.records import Responses, Rewards
from croco.stage import Context, Item
from croco.stages.pair import Config, pair


def responses(lang, rewards, finish="stop"):
    n = len(rewards)
    texts = [f"{lang} {k}" for k in range(n)]
    ids = [[ord(lang[0]), k, 2] for k in range(n)]
    return (
        Responses("p", lang, [1, ord(lang[0])], texts, ids, [finish] * n),
        Rewards("p", lang, rewards),
    )


ES = responses("es", [0.0, 5.0, 1.0])
EN = responses("en", [9.0, 3.0, 2.0])


def made(config, *rows, key=("p", "mul")):
    samples, scores = [r[0] for r in rows], [r[1] for r in rows]
    if len(rows) == 1:
        samples, scores = samples[0], scores[0]
    item = Item(key, {"score": scores, "sample": samples})
    context = Context({}, None, Resources(), lambda *_: None)
    ((row,),) = pair(Config(pair=config, seed=1), context, [[item]])
    return row


def test_a_monolingual_pool_is_one_language():
    row = made(PairConfig(), ES, key=("p", "es"))
    (one,) = row.pairs
    assert (one.chosen.reward, one.rejected.reward) == (5.0, 0.0)
    assert one.prompt_ids == [1, ord("e")]
    assert one.chosen.token_ids == [ord("e"), 1, 2]
    assert row.pool_size == 3
    assert row.fallback


@pytest.mark.parametrize(("shown", "lang"), [("chosen", "en"), ("rejected", "es")])
def test_a_multilingual_pool_spans_languages_and_the_prompt_follows_the_option(shown, lang):
    config = PairConfig(scope="multilingual", prompt_language=shown, rejected="min")
    row = made(config, EN, ES)
    (one,) = row.pairs
    assert (one.chosen.lang, one.rejected.lang) == ("en", "es")
    assert one.prompt_lang == lang
    assert row.key == ("p", "mul")
    assert row.pool_size == 6


def test_a_random_prompt_language_depends_on_the_seed_alone():
    config = PairConfig(scope="multilingual", prompt_language="random", rejected="min")
    assert made(config, EN, ES) == made(config, EN, ES)


def test_a_cut_off_answer_is_not_chosen_where_that_is_asked():
    cut = responses("es", [0.0, 5.0, 1.0], finish="length")
    row = made(PairConfig(finished_only=True), cut, key=("p", "es"))
    assert row.pairs == []
    assert row.reason == "no response may be chosen"


def test_an_empty_answer_is_never_chosen():
    sample, score = ES
    sample.texts[1] = "  "
    assert made(PairConfig(), (sample, score), key=("p", "es")).pairs[0].chosen.index == 2
    sample.texts[1] = "es 1"
