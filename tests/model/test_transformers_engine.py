"""The transformers engine on a tiny random model: seeds, stopping, padding and BOS."""

import pytest

torch = pytest.importorskip("torch")

from croco.engines.transformers import TransformersEngine, check_bos, pick
from croco.errors import EngineError
from croco.recipe import Resources, Sampling

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def engine(tiny_policy):
    return TransformersEngine(
        tiny_policy, Sampling(n=3, max_tokens=12, dtype="float32"), Resources(device="cpu")
    )


CHATS = [
    [{"role": "user", "content": text}]
    for text in ("hello there", "a much longer question about bread and rain", "hi")
]
SEEDS = [[11, 12, 13], [21, 22, 23], [31, 32, 33]]


def test_an_answer_depends_on_its_prompt_and_seed_alone(engine):
    prompts = [engine.encode(chat) for chat in CHATS]
    together = engine.generate(prompts, SEEDS)
    alone = [engine.generate([ids], [own])[0] for ids, own in zip(prompts, SEEDS, strict=True)]
    assert together == alone
    fewer = engine.generate(prompts, [own[1:2] for own in SEEDS])
    assert [own[0] for own in fewer] == [own[1] for own in together]


def test_other_seeds_give_other_answers(engine):
    ids = engine.encode(CHATS[0])
    (answers,) = engine.generate([ids], [[1, 2, 3]])
    assert len({tuple(answer.token_ids) for answer in answers}) == 3


def test_an_answer_ends_with_the_end_token_exactly_when_it_stopped(engine):
    ids = engine.encode(CHATS[0])
    answers = [
        a for own in engine.generate([ids] * 20, [[k, k + 100] for k in range(20)]) for a in own
    ]
    end = engine._ends[0]
    assert {answer.finish_reason for answer in answers} == {"stop", "length"}
    for answer in answers:
        assert (answer.token_ids[-1] == end) == (answer.finish_reason == "stop")
        assert end not in answer.token_ids[:-1]
        assert answer.finish_reason == "stop" or len(answer.token_ids) == 12


def test_the_first_token_follows_the_models_own_distribution(engine):
    """Against the softmax of one plain forward pass, by a chi-square over the likeliest tokens."""
    from scipy.stats import chisquare

    ids = engine.encode(CHATS[1])
    answers = engine.generate([ids], [list(range(6000))])[0]
    with torch.inference_mode():
        expected = torch.softmax(engine._model(torch.tensor([ids])).logits[0, -1].double(), -1)
    counts = torch.bincount(
        torch.tensor([a.token_ids[0] for a in answers]), minlength=len(expected)
    )
    assert chisquare(counts, expected / expected.sum() * len(answers)).pvalue > 1e-3


def test_pick_inverts_the_cumulative_distribution():
    logits = torch.log(torch.tensor([[0.5, 0.0, 0.3, 0.2, 0.0]]))
    uniforms = [0.0, 0.49, 0.51, 0.79, 0.81, 1.0]  # 1.0 is what a stream may round to
    found = [int(pick(logits, torch.tensor([u]), 1.0, 1.0)) for u in uniforms]
    assert found == [0, 0, 2, 2, 3, 3]


def test_top_p_keeps_the_smallest_set_that_reaches_it():
    logits = torch.log(torch.tensor([[0.2, 0.5, 0.3]])).repeat(100, 1)
    uniforms = torch.linspace(0, 0.999, 100)
    assert set(pick(logits, uniforms, 1.0, 0.5).tolist()) == {1}
    assert set(pick(logits, uniforms, 1.0, 0.51).tolist()) == {1, 2}
    assert set(pick(logits, uniforms, 1.0, 1.0).tolist()) == {0, 1, 2}


def test_a_prompt_has_exactly_one_bos(engine):
    ids = engine.encode(CHATS[0])
    assert ids[0] == engine._tokenizer.bos_token_id
    assert ids[1] != ids[0]
    with pytest.raises(EngineError, match="2 BOS"):
        check_bos([ids[0], *ids], engine._tokenizer)
    with pytest.raises(EngineError, match="0 BOS"):
        check_bos(ids[1:], engine._tokenizer)
