"""Reward training over TRL: what is read, what is saved, what is left out, and what a kill costs."""

import contextlib
import json
import shutil

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
pytest.importorskip("trl")

from croco import rewards
from croco.errors import EngineError, RecipeError
from croco.records import Candidate, Preference, Turn
from croco.reward_settings import RewardConfig, RewardTraining
from croco.rewards.encoding import encode, read_at
from croco.settings import Resources
from croco.training.reward import train_reward
from croco.training.reward_trl import newest

pytestmark = pytest.mark.model
LORA = {"lora": {"r": 4, "alpha": 8}}
WAYS = {"full": {}, "lora": LORA, "top": {"layers": 1}}
ENCODER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.3,
    "pad_token_id": 2,
}


def preferences(count=12):
    """The answer with "yes" is the better one; of various lengths, in two languages."""
    return [
        Preference(
            id=f"p{k}",
            lang="de" if k % 3 == 0 else "en",
            prompt=" ".join(["hello", "rain", f"w{k}"][: 1 + k % 3]),
            chosen=" ".join(["yes"] + [f"w{k}"] * (k % 4)),
            rejected=" ".join(["no"] + [f"w{k}"] * (k % 5)),
            before=[Turn("user", "hi"), Turn("assistant", "there")] if k % 4 == 0 else [],
        )
        for k in range(count)
    ]


def run(base, out, pairs=None, work=None, told=lambda *_: None, micro_batch=3, **settings):
    settings = {"epochs": 4, "learning_rate": 1e-2, "batch_size": 4} | settings
    config = RewardTraining(base=str(base), files=[], **settings)
    resources = Resources(micro_batch=micro_batch, device="cpu", checkpoint_every=1)
    return train_reward(config, pairs or preferences(), out, resources, told, work)


def scored(folder, pairs=None):
    """The rewards of both answers of all pairs, by the scorer."""
    scorer = rewards.load(RewardConfig(kind="classifier", model=str(folder)), Resources())
    return scorer.score(
        [
            Candidate(p.lang, p.prompt, answer, p.before)
            for p in pairs or preferences()
            for answer in (p.chosen, p.rejected)
        ]
    ).rewards


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def encoder(tiny_policy, tmp_path_factory):
    """A random BERT and a random RoBERTa: no chat template, so they read text pairs."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_policy.location)
    tokenizer.chat_template = None
    tokenizer.add_special_tokens({"pad_token": "<unk>"})
    folders = {}
    for name in ("Bert", "Roberta"):
        folders[name] = tmp_path_factory.mktemp(name)
        config = getattr(transformers, f"{name}Config")(vocab_size=len(tokenizer), **ENCODER)
        config.pad_token_id = tokenizer.pad_token_id
        torch.manual_seed(0)
        getattr(transformers, f"{name}ForMaskedLM")(config).save_pretrained(folders[name])
        tokenizer.save_pretrained(folders[name])
    return folders


@pytest.mark.parametrize("way", [*WAYS, "head"])
def test_one_step_trains_and_a_training_that_changes_nothing_is_an_error(
    way, encoder, tmp_path, caplog
):
    own = {"epochs": 1, "batch_size": 12} | (WAYS | {"head": {"layers": 0}})[way]
    (step,) = run(encoder["Bert"], tmp_path / "out", **own)
    assert step.learning_rate == 1e-2
    assert "1 optimizer step," in caplog.text
    with pytest.raises(EngineError, match="changed no weight in 1 optimizer steps"):
        run(encoder["Bert"], tmp_path / "none", learning_rate=1e-46, **own)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("base", ["llama", "Bert", "Roberta"])
def test_what_is_saved_scores_as_it_was_trained(
    base, way, tiny_policy, encoder, tmp_path, monkeypatch
):
    folder = encoder.get(base, tiny_policy.location)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    steps = run(folder, tmp_path / "out", epochs=10, **WAYS[way])
    assert list((tmp_path / "here").iterdir()) == []
    assert len(steps) == 30
    assert [s.step for s in steps] == list(range(1, 31))
    assert steps[-1].loss < 0.5 < steps[0].loss
    assert steps[-1].accuracy == 1.0
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert "model.safetensors" in files
    assert not {"adapter_model.safetensors", "adapter_config.json"} & files
    found = scored(tmp_path / "out")
    assert sum(c > r for c, r in zip(found[::2], found[1::2], strict=True)) >= 11
    # The same in plain transformers, one conversation at a time.
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    for pair, reward in zip(preferences(), found[::2], strict=True):
        row = encode(tokenizer, Candidate(pair.lang, pair.prompt, pair.chosen, pair.before), 256)
        with torch.inference_mode():
            plain = model.eval()(**{name: torch.tensor([ids]) for name, ids in row.items()}).logits
        assert reward == pytest.approx(plain.item(), abs=1e-5)


@pytest.mark.parametrize("base", ["llama", "Roberta"])
def test_merged_weights_are_base_and_adapter(base, tiny_policy, encoder, tmp_path):
    """The adapter of the last checkpoint, put on the base by PEFT, gives the saved model's rewards."""
    folder = encoder.get(base, tiny_policy.location)
    run(folder, tmp_path / "out", work=tmp_path / "kept", **LORA)
    last = newest(tmp_path / "kept")
    assert last.name == "checkpoint-12"
    whole = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    tuned = peft.PeftModel.from_pretrained(whole, str(last)).eval()
    merged = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    ids = torch.tensor([[1, 3, 5, 9, 2, 4, 20]])
    with torch.inference_mode():
        torch.testing.assert_close(tuned(ids).logits, merged(ids).logits, atol=1e-5, rtol=0)


@contextlib.contextmanager
def embedded():
    """Collects the ids that any model reads."""
    seen = []

    def note(module, args, output):
        training = torch.is_grad_enabled()  # not where a merge is compared
        if isinstance(module, torch.nn.Embedding) and args[0].dim() == 2 and training:
            seen.extend(args[0].tolist())

    handle = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        yield seen
    finally:
        handle.remove()


@pytest.mark.parametrize("way", ["full", "lora"])
def test_the_ids_trained_on_are_those_scored(way, tiny_policy, tmp_path):
    with embedded() as trained:
        run(tiny_policy.location, tmp_path / "out", epochs=1, **WAYS[way])
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    pad = transformers.AutoConfig.from_pretrained(tmp_path / "out").pad_token_id
    bos, end = tokenizer.convert_tokens_to_ids(["<s>", "<end>"])
    assert pad == tokenizer.pad_token_id != end
    expected = set()
    for pair in preferences():
        for answer in (pair.chosen, pair.rejected):
            row = encode(tokenizer, Candidate(pair.lang, pair.prompt, answer, pair.before), 256)
            ids = row["input_ids"]
            assert ids.count(bos) == 1
            assert ids[-1] == end
            assert read_at(ids, pad) == len(ids) - 1  # the reward is read at the end of turn
            expected.add(tuple(ids))

    def without_padding(ids):
        return tuple(ids[: read_at(ids, pad) + 1])

    assert {without_padding(ids) for ids in trained} == expected
    assert any(ids[-1] == pad for ids in trained)


@pytest.mark.parametrize("way", WAYS)
def test_the_micro_batch_does_not_change_the_result(way, tiny_policy, tmp_path):
    settings = {"epochs": 1, "batch_size": 5, "learning_rate": 1e-3} | WAYS[way]
    runs = [
        run(tiny_policy.location, tmp_path / str(m), micro_batch=m, **settings) for m in (8, 2, 1)
    ]
    for other in runs[1:]:
        for one, two in zip(runs[0], other, strict=True):
            for name in ("loss", "margin", "learning_rate", "epoch"):
                assert getattr(one, name) == pytest.approx(getattr(two, name), abs=1e-5)
    first = weights(tmp_path / "8")
    for name, tensor in weights(tmp_path / "1").items():
        torch.testing.assert_close(tensor, first[name], atol=2e-4, rtol=0)


@pytest.mark.parametrize("way", WAYS)
def test_killed_training_goes_on_from_its_checkpoint(way, tiny_policy, tmp_path):
    whole = run(tiny_policy.location, tmp_path / "whole", **WAYS[way])
    kept = tmp_path / "kept"

    def kill(done, total, text):
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny_policy.location, tmp_path / "out", work=kept, told=kill, **WAYS[way])
    assert not (tmp_path / "out").exists()
    assert newest(kept).name == "checkpoint-7"
    # What a kill in the middle of saving leaves is not taken.
    torn = kept / "checkpoints" / "checkpoint-9"
    shutil.copytree(newest(kept), torn, ignore=shutil.ignore_patterns("whole", "*.pt"))
    assert newest(kept).name == "checkpoint-7"
    done = []
    resumed = run(
        tiny_policy.location,
        tmp_path / "out",
        work=kept,
        told=lambda *at: done.append(at[0]),
        **WAYS[way],
    )
    assert done == [8, 9, 10, 11, 12]
    assert [s.step for s in resumed] == list(range(1, 13))
    for one, two in zip(whole, resumed, strict=True):
        assert (one.loss, one.margin, one.learning_rate) == pytest.approx(
            (two.loss, two.margin, two.learning_rate), abs=1e-6
        )
    expected = weights(tmp_path / "whole")
    for name, tensor in weights(tmp_path / "out").items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-6, rtol=0)


def test_frozen_parts_stay_as_they_are(tiny_policy, tmp_path):
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_policy.location).state_dict()
    for way, moves in (("full", "layers.0"), ("top", "layers.1")):
        run(tiny_policy.location, tmp_path / way, epochs=1, **WAYS[way])
        changed = {
            name
            for name, tensor in weights(tmp_path / way).items()
            if name in base and not torch.equal(tensor, base[name])
        }
        assert any(moves in name for name in changed)
        assert not any("embed_tokens" in name for name in changed)
        assert way == "full" or not any("layers.0" in name for name in changed)


def test_passes_in_bfloat16_save_bfloat16(tiny_policy, tmp_path):
    steps = run(tiny_policy.location, tmp_path / "out", dtype="bfloat16", epochs=10, **LORA)
    assert steps[-1].loss < 0.5 < steps[0].loss
    assert {tensor.dtype for tensor in weights(tmp_path / "out").values()} == {torch.bfloat16}


@pytest.mark.parametrize("way", [LORA, {}, {"layers": 0}])
def test_what_cannot_be_trained_on_is_left_out_and_counted(way, encoder, tmp_path, caplog):
    long = Preference("long", "en", "hello", "yes " * 60, "no")
    same = Preference("same", "en", "hello", "yes", "yes")
    form = Preference("form", "en", "hello", "yes", "yes\u200b")
    pairs = [long, *preferences(), same, form]
    run(encoder["Bert"], tmp_path / "out", pairs, epochs=1, max_length=32, **way)
    counts = json.loads((tmp_path / "out" / "training" / "pairs.json").read_text())
    assert counts == {
        "given": 15,
        "trained": 12,
        "left_out": {
            "more than max_length, 32 tokens": 1,
            "chosen and rejected are the same tokens": 1,
            "chosen and rejected are the same text": 1,
        },
    }
    assert "1 of 15 preferences are left out: more than max_length, 32 tokens" in caplog.text
    with pytest.raises(EngineError, match=r"none of 1 pairs .*max_length, 32 tokens"):
        run(encoder["Bert"], tmp_path / "no", [long], max_length=32, **way)
    assert not (tmp_path / "no").exists()


def test_a_chat_that_the_template_refuses_is_left_out_alone(tiny_policy, tmp_path, caplog):
    folder = tmp_path / "base"
    shutil.copytree(tiny_policy.location, folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    refusing = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    )
    tokenizer.chat_template = refusing + tokenizer.chat_template
    tokenizer.save_pretrained(folder)
    system = Preference("s", "en", "hello", "yes", "no", before=[Turn("system", "w1")])
    run(folder, tmp_path / "out", [*preferences(), system], epochs=1)
    assert "1 of 13 preferences are left out: the model's chat template refuses" in caplog.text


def test_languages_may_be_named(tiny_policy, tmp_path):
    run(tiny_policy.location, tmp_path / "out", epochs=1, languages=["de"])
    counts = json.loads((tmp_path / "out" / "training" / "pairs.json").read_text())
    assert (counts["given"], counts["trained"]) == (12, 4)
    with pytest.raises(RecipeError, match="no preference has the language 'fr' of `languages`"):
        run(tiny_policy.location, tmp_path / "no", languages=["de", "fr"])


def test_nothing_to_train_on_is_refused(tiny_policy, tmp_path):
    config = RewardTraining(base=tiny_policy.location)
    with pytest.raises(RecipeError, match="no preferences to train on"):
        train_reward(config, [], tmp_path / "out", Resources(), lambda *_: None)


@pytest.mark.parametrize("way", ["full", "lora"])
def test_a_reward_that_is_no_number_stops_and_names_its_pair(way, tiny_policy, tmp_path):
    folder = tmp_path / "base"
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_policy.location)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_policy.location)
    word = tokenizer.convert_tokens_to_ids("w7")
    model.get_input_embeddings().weight.data[word] = torch.nan
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    kept = tmp_path / "kept"
    with pytest.raises(EngineError, match=r"diverged at step \d .* on pair 'p7' \(en\): lower"):
        run(folder, tmp_path / "out", work=kept, **WAYS[way])
    assert not (tmp_path / "out").exists()


def test_two_ways_at_once_are_refused():
    with pytest.raises(ValueError, match="lora or layers, not both"):
        RewardTraining(base="x", layers=1, lora={})
