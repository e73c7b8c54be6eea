"""The transformers engine on a tiny random model: seeds, stopping, padding and BOS."""

import pytest

torch = pytest.importorskip("torch")

from croco.engines import Request
from croco.engines.transformers import TransformersEngine, pick
from croco.errors import StopError
from croco.settings import Resources, Sampling
from croco.tokens import check_bos

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def engine(tiny_policy):
    return TransformersEngine(
        tiny_policy, Sampling(n=3, max_tokens=12, dtype="float32"), Resources(device="cpu")
    )


ONE = torch.ones(1)
CHATS = [
    [{"role": "user", "content": text}]
    for text in ("hello there", "a much longer question about bread and rain", "hi")
]
SEEDS = [[11, 12, 13], [21, 22, 23], [31, 32, 33]]


def sampled(engine, chats, seeds, temperature=1.0):
    batch = [
        Request(k, c, s, temperature) for k, (c, s) in enumerate(zip(chats, seeds, strict=True))
    ]
    (replies,) = engine.generate([batch])
    assert [reply.request for reply in replies] == batch
    return [reply.completions for reply in replies]


def test_an_answer_depends_on_its_prompt_and_seed_alone(engine):
    together = sampled(engine, CHATS, SEEDS)
    alone = [sampled(engine, [chat], [own])[0] for chat, own in zip(CHATS, SEEDS, strict=True)]
    assert together == alone
    fewer = sampled(engine, CHATS, [SEEDS[0][1:], SEEDS[1][2:], SEEDS[2]])
    assert fewer == [together[0][1:], together[1][2:], together[2]]


def test_other_seeds_give_other_answers(engine):
    (answers,) = sampled(engine, CHATS[:1], [[1, 2, 3]])
    assert len({tuple(answer.token_ids) for answer in answers}) == 3


def test_an_answer_ends_with_the_end_token_exactly_when_it_stopped(engine):
    seeds = [[k, k + 100] for k in range(20)]
    answers = [a for own in sampled(engine, CHATS[:1] * 20, seeds) for a in own]
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
    (answers,) = sampled(engine, [CHATS[1]], [list(range(6000))])
    with torch.inference_mode():
        expected = torch.softmax(engine._model(torch.tensor([ids])).logits[0, -1].double(), -1)
    counts = torch.bincount(
        torch.tensor([a.token_ids[0] for a in answers]), minlength=len(expected)
    )
    assert chisquare(counts, expected / expected.sum() * len(answers)).pvalue > 1e-3


def test_pick_inverts_the_cumulative_distribution():
    logits = torch.log(torch.tensor([[0.5, 0.0, 0.3, 0.2, 0.0]]))
    uniforms = [0.0, 0.49, 0.51, 0.79, 0.81, 1.0]  # 1.0 is what a stream may round to
    found = [int(pick(logits, torch.tensor([u]), ONE, 1.0)) for u in uniforms]
    assert found == [0, 0, 2, 2, 3, 3]


def test_top_p_keeps_the_smallest_set_that_reaches_it():
    logits = torch.log(torch.tensor([[0.2, 0.5, 0.3]])).repeat(100, 1)
    uniforms = torch.linspace(0, 0.999, 100)
    assert set(pick(logits, uniforms, torch.ones(100), 0.5).tolist()) == {1}
    assert set(pick(logits, uniforms, torch.ones(100), 0.51).tolist()) == {1, 2}
    assert set(pick(logits, uniforms, torch.ones(100), 1.0).tolist()) == {0, 1, 2}


def test_a_prompt_has_exactly_one_bos(engine):
    ids = engine.encode(CHATS[0])
    assert ids[0] == engine._tokenizer.bos_token_id
    assert ids[1] != ids[0]
    with pytest.raises(StopError, match="2 BOS"):
        check_bos([ids[0], *ids], engine._tokenizer)
    with pytest.raises(StopError, match="0 BOS"):
        check_bos(ids[1:], engine._tokenizer)


def test_temperature_zero_takes_the_likeliest_token_whatever_the_seed(engine):
    greedy = sampled(engine, [CHATS[1]], [[1, 2]], temperature=0)[0]
    assert greedy[0] == greedy[1]
    with torch.inference_mode():
        ids = torch.tensor([engine.encode(CHATS[1])])
        wanted = engine._model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
    assert greedy[0].token_ids == wanted.tolist()


def test_a_stop_text_ends_an_answer_and_its_ids_are_as_sampled(tiny_policy, engine):
    (free,) = sampled(engine, CHATS[:1], [list(range(40))])
    word = next(a for a in free if len(a.text.split()) > 6).text.split()[3]
    sampling = Sampling(n=3, max_tokens=12, dtype="float32", stop=[f"{word}"])
    stopping = TransformersEngine(tiny_policy, sampling, Resources(device="cpu"))
    (answers,) = sampled(stopping, CHATS[:1], [list(range(40))])
    hit = 0
    for answer, before in zip(answers, free, strict=True):
        assert word not in answer.text
        assert before.token_ids[: len(answer.token_ids)] == answer.token_ids
        if word in before.text:
            hit += 1
            assert answer.finish_reason == "stop"
            assert before.text.startswith(answer.text)
        else:
            assert answer == before
    assert hit > 0


def test_a_full_memory_halves_the_batch_once_and_then_stops(tiny_policy, caplog):
    """A device that holds `room` answers at most, as a hook on the real model."""
    engine = TransformersEngine(
        tiny_policy, Sampling(n=3, max_tokens=6, dtype="float32"), Resources(device="cpu")
    )
    room = 5

    def full(module, args, kwargs):
        if len(kwargs["input_ids"]) > room:
            raise torch.OutOfMemoryError("out of memory")

    handle = engine._model.register_forward_pre_hook(full, with_kwargs=True)
    halved = sampled(engine, CHATS, SEEDS)
    assert "half as big" in caplog.text
    room = 4
    with pytest.raises(StopError, match="batch_size"):
        sampled(engine, CHATS, SEEDS)
    handle.remove()
    assert sampled(engine, CHATS, SEEDS) == halved


def test_a_chat_that_cannot_be_encoded_alone_is_an_error(engine, tiny_policy):
    refusing = TransformersEngine(
        tiny_policy, Sampling(n=1, max_tokens=4, dtype="float32"), Resources(device="cpu")
    )
    template = refusing._tokenizer.chat_template
    refusing._tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        + template
    )
    chats = [CHATS[0], [{"role": "system", "content": "hi"}, *CHATS[1]]]
    batch = [Request(k, chat, [1]) for k, chat in enumerate(chats)]
    good, bad = next(iter(refusing.generate([batch])))
    assert good.error is None
    assert len(good.completions) == 1
    assert "no system" in str(bad.error)


def test_a_model_without_a_chat_template_says_how_to_give_one(tiny_policy):
    engine = TransformersEngine(
        tiny_policy, Sampling(n=1, max_tokens=4, dtype="float32"), Resources(device="cpu")
    )
    engine._tokenizer.chat_template = None
    with pytest.raises(StopError, match=r"chat_template\.jinja"):
        next(iter(engine.generate([[Request(0, CHATS[0], [1])]])))
