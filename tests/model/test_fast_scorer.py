"""The scorer's short cuts change no reward: each answer has the logit that transformers gives it alone."""

import random

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from croco import rewards
from croco.errors import EngineError, StopError
from croco.records import Candidate
from croco.reward_settings import RewardConfig
from croco.rewards.encoding import encode, plain_ids
from croco.rewards.passes import batches, can_share
from croco.settings import Resources
from croco.tokens import check_vocabulary

pytestmark = pytest.mark.model
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "pad_token_id": 2,
    "num_labels": 1,
}
GROUPED = SMALL | {"num_key_value_heads": 2, "head_dim": 8}
FAMILIES = {
    "llama": (transformers.LlamaConfig, GROUPED),
    "gemma3": (
        transformers.Gemma3TextConfig,
        GROUPED
        | {"sliding_window": 16, "layer_types": ["sliding_attention"] * 2 + ["full_attention"]},
    ),
    "qwen3": (transformers.Qwen3Config, GROUPED),
    "gpt2": (transformers.GPT2Config, SMALL),
    "bert": (transformers.BertConfig, SMALL),
    "roberta": (transformers.RobertaConfig, SMALL | {"max_position_embeddings": 259}),
    "bidirectional": (transformers.LlamaConfig, GROUPED | {"is_causal": False}),
    "longrope": (
        transformers.Phi3Config,
        SMALL
        | {
            "original_max_position_embeddings": 32,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "short_factor": [1.0] * 4,
                "long_factor": [4.0] * 4,
                "original_max_position_embeddings": 32,
            },
        },
    ),
}
SHARING = {"llama", "gemma3", "qwen3", "gpt2"}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def reward_model(family, tiny_policy, tmp_path_factory):
    """A random classifier of each family, with the tokenizer and chat template of the tiny policy."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_policy.location)
    torch.manual_seed(1)
    config_class, settings = FAMILIES[family]
    config = config_class(vocab_size=len(tokenizer), **settings)
    folder = tmp_path_factory.mktemp(family)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load(folder, **resources):
    return rewards.load(RewardConfig(kind="classifier", model=str(folder)), Resources(**resources))


def words(count, seed):
    return " ".join(random.Random(seed).choices([f"w{k}" for k in range(40)], k=count))


def pool():
    """Answers to three prompts in mixed order: long, short and empty ones, copies and beginnings."""
    found = []
    for p, size in enumerate((60, 3, 25)):
        prompt = words(size, p)
        answers = [words(length, 10 * p + length) for length in (1, 2, 4, 8, 16, 30)]
        answers += ["", answers[3], " ".join(answers[5].split()[:7]), answers[1] + " <end>"]
        found += [Candidate("en", prompt, answer) for answer in answers]
    random.Random(0).shuffle(found)
    return found


def alone(folder, candidates):
    """What transformers gives each conversation by itself."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    found = []
    for one in candidates:
        row = encode(tokenizer, one, 256)
        with torch.inference_mode():
            found.append(
                model(**{k: torch.tensor([v]) for k, v in row.items()}).logits.flatten().item()
            )
    return found


@pytest.mark.parametrize("batch_tokens", [1, 150, 16384])
def test_rewards_are_those_of_each_answer_alone(reward_model, batch_tokens):
    expected = alone(reward_model, pool())
    scores = load(reward_model, batch_tokens=batch_tokens).score(pool()).rewards
    assert scores == pytest.approx(expected, abs=1e-4)
    assert len({round(score, 3) for score in scores}) > 20


def test_only_a_model_that_looks_back_alone_shares_a_beginning(reward_model, family):
    assert can_share(load(reward_model).model) == (family in SHARING)


def test_fewer_tokens_go_through_the_model(reward_model, family):
    scorer = load(reward_model)
    seen = []
    embeddings = scorer.model.get_input_embeddings()
    embeddings.register_forward_hook(lambda module, args, out: seen.append(args[0].numel()))
    prompt = words(100, 0)
    candidates = [Candidate("en", prompt, words(4, k % 10)) for k in range(40)]
    scorer.score(candidates)
    row = len(encode(scorer.tokenizer, candidates[0], 256)["input_ids"])
    if family in SHARING:
        assert sum(seen) < row + 10 * 8  # the prompt once, and ten different answers
    else:
        assert sum(seen) == row * 10


@pytest.mark.parametrize("family", ["roberta", "llama"], indirect=True)
def test_no_row_is_longer_than_the_model_has_positions_for(reward_model):
    scorer = load(reward_model)
    overhead = len(encode(scorer.tokenizer, Candidate("en", "w1", ""), 256)["input_ids"])
    assert scorer.limit == 256
    scorer.score([Candidate("en", "w1", words(256 - overhead, 0))])
    with pytest.raises(EngineError, match="limit of 256"):
        scorer.score([Candidate("en", "w1", words(257 - overhead, 0))])


def test_batches_hold_rows_of_like_length_within_the_budget():
    lengths = {k: random.Random(k).randint(1, 90) for k in range(200)}
    found = list(batches(lengths, 10, 300, (0.1, 5)))
    assert sorted(k for batch in found for k in batch) == list(range(200))
    assert [lengths[k] for b in found for k in b] == sorted(lengths.values(), reverse=True)
    for batch in found:
        own = [lengths[k] for k in batch]
        width = max(own)
        assert (10 + width) * len(own) <= 300
        assert width * len(own) - sum(own) <= 0.1 * width * len(own) + 5


def test_a_row_longer_than_the_budget_goes_alone():
    assert list(batches({0: 50, 1: 1}, 0, 10, (1.0, 99))) == [[0], [1]]
    assert list(batches({}, 0, 10, (1.0, 99))) == []


@pytest.mark.parametrize("failures", [1, 3])
def test_a_full_memory_halves_the_batches_once(tiny_reward, failures, caplog):
    scorer = load(tiny_reward)
    candidates = pool()
    expected = scorer.score(candidates).rewards
    left = [failures]

    def fill(module, args, kwargs):
        if kwargs["input_ids"].shape[0] > 1 and left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    scorer.model.register_forward_pre_hook(fill, with_kwargs=True)
    if failures == 1:
        assert scorer.score(candidates).rewards == pytest.approx(expected, abs=1e-5)
        assert caplog.text.count("half as big") == 1
    else:
        with pytest.raises(StopError, match=r"lower resources\.score\.batch_tokens"):
            scorer.score(candidates)


@pytest.fixture(scope="module")
def tiny_reward(tiny_policy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward")
    torch.manual_seed(1)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        tiny_policy.location, num_labels=1
    )
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(tiny_policy.location).save_pretrained(folder)
    return folder


def test_a_tokenizer_of_another_model_is_refused(tiny_reward):
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_reward)
    tokenizer.add_tokens([f"new{k}" for k in range(9)])
    tokenizer.save_pretrained(tiny_reward)
    with pytest.raises(StopError, match="are not of one model"):
        load(tiny_reward)


def test_special_tokens_may_stand_beyond_the_embeddings(tiny_policy):
    """Gemma 3's text models have no embedding for their tokenizer's token of an image."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_policy.location)
    size = len(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    check_vocabulary(tokenizer, size, "the model")


def test_vllm_is_given_a_row_up_to_where_its_reward_is_read():
    assert plain_ids({"input_ids": [1, 5, 6, 2, 2]}, 2) == [1, 5, 6]
    assert plain_ids({"input_ids": [1, 5, 6, 2, 2]}, None) == [1, 5, 6, 2, 2]
    assert plain_ids({"input_ids": [2, 2]}, 2) == [2]
    with pytest.raises(Exception, match="token types"):
        plain_ids({"input_ids": [1, 5], "token_type_ids": [0, 1]}, 2)
