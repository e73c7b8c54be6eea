"""What a model refuses is found from its configuration and tokenizer, before anything is sampled."""

import json

import pytest
import yaml

from croco import recipe_file
from croco.checks import check

pytestmark = pytest.mark.model

TURNS = "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} <end> {% endfor %}"
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}" + TURNS
)
ASK = {"version": 1, "messages": [{"role": "system", "content": "Grade."}], "answer": "(.*)"}
ASK["messages"] += [{"role": "user", "content": "{{ prompt }} {{ response }}"}]


@pytest.fixture
def model(tmp_path):
    """Makes the files of a small Llama without weights."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, LlamaConfig, PreTrainedTokenizerFast

    def make(name, template=TURNS, **changed):
        words = ["<end>", "a", ":", "user", "system", "assistant", "Grade", "."]
        known = Tokenizer(models.WordLevel({w: k for k, w in enumerate(words)}, unk_token="a"))
        known.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=known, eos_token="<end>", unk_token="a"
        )
        tokenizer.chat_template = template
        tokenizer.save_pretrained(tmp_path / name)
        small = {"num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 8}
        small |= {"hidden_size": 8, "intermediate_size": 16, "max_position_embeddings": 512}
        config = LlamaConfig(**small | {"dtype": "bfloat16"} | changed)
        config.save_pretrained(tmp_path / name)
        assert AutoConfig.from_pretrained(tmp_path / name).model_type == "llama"
        assert not list((tmp_path / name).glob("*.safetensors"))
        return name

    return make


@pytest.fixture
def found(tmp_path, recipes):
    """The findings on the fake recipe with some keys changed, as (where, message) by level."""

    def call(quick=False, **changed):
        values = yaml.safe_load((recipes / "fake.yaml").read_text())
        values |= {
            "reward": {"kind": "fake"},
            "arms": {"dpo": {"train": {"trainer": "fake"}}},
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(values | changed, sort_keys=False))
        recipe = recipe_file.load(path)
        made = [(one.level, str(one)) for one in check(recipe, quick=quick)]
        return [one for one in made if "optimizer step" not in one[1]]  # there are few prompts

    return call


def real(**train):
    """An arm that is trained by TRL, and a policy that samples by itself."""
    return {"policy": "tiny", "arms": {"dpo": {"train": {"dtype": "bfloat16", **train}}}}


def sampled(tmp_path, **more):
    return {"sample": {"engine": "transformers", "n": 4, "max_tokens": 20, **more}}


@pytest.mark.parametrize("quick", [False, True])
def test_what_suits_the_model_gives_no_finding(model, found, tmp_path, quick):
    model("tiny")
    assert found(quick, **real(), **sampled(tmp_path)) == []


@pytest.mark.parametrize(
    ("target", "right"),
    [
        ("q_porj", "'q_proj'"),
        ("Q_PROJ", "'q_proj'"),
        ("qkv_proj", "v_proj'?"),
        ("c_attn", "q_proj, k_proj"),
        ("lm_head", "q_proj, k_proj"),
        ("self_attn", "q_proj"),
        ("model.layers.7.self_attn.q_proj", "q_proj"),
    ],
)
def test_a_target_that_is_no_layer_of_the_model_is_told_with_the_nearest(
    model, found, target, right
):
    model("tiny")
    [(level, text)] = found(**real(lora={"targets": ["q_proj", target]}))
    assert level == "error"
    assert text.startswith("arms.dpo.train.lora.targets: ")
    assert repr(target) in text
    assert right in text


def test_the_names_of_targets_may_be_parts_of_paths(model, found):
    model("tiny")
    targets = ["self_attn.q_proj", "model.layers.1.mlp.up_proj", "embed_tokens"]
    assert found(**real(lora={"targets": targets})) == []


def test_the_rewards_targets_are_those_of_a_classifier(model, found, tmp_path):
    model("tiny")
    train = {"base": "tiny", "files": ["bundled:preferences-train.jsonl"]}
    for targets in (["lm_head"], ["q_proj", "o_porj"]):
        reward = {"kind": "classifier", "train": train | {"lora": {"targets": targets}}}
        [(level, text)] = found(reward=reward)
        assert (level, repr(targets[-1]) in text) == ("error", True)
    reward = {"kind": "classifier", "train": train | {"lora": {"targets": ["q_proj", "score"]}}}
    assert found(reward=reward) == []


def test_a_schedule_and_a_precision_that_cannot_be_are_told(model, found, tmp_path):
    model("tiny")
    [(level, text)] = found(**real(schedule="cosin"))
    assert (level, "'cosine'" in text) == ("error", True)
    [(level, text)] = found(**real(dtype="float16"))
    assert (level, "bfloat16" in text) == ("warning", True)
    model("whole", dtype="float32")
    import torch

    if not torch.cuda.is_available():
        [(level, text)] = found(**real(dtype="float16", lora=None) | {"policy": "whole"})
        assert (level, "float32" in text) == ("error", True)


def test_weights_that_are_quantised_are_not_trained_as_a_whole(model, found, tmp_path):
    model("tiny")
    path = tmp_path / "tiny" / "config.json"
    packed = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    path.write_text(json.dumps(json.loads(path.read_text()) | packed))
    for train in ({"lora": None}, {"lora": {"quantized": True}}):
        assert ("error", "quantised" in found(**real(**train))[0][1]) == ("error", True)
    assert found(**real()) == []


def test_a_context_that_is_too_short_for_the_answers_is_told(model, found, tmp_path):
    model("tiny")
    errors = found(**real(), **sampled(tmp_path, max_tokens=512))
    assert {level for level, _ in errors} == {"error"}
    assert all("512" in text for _, text in errors)


@pytest.fixture
def system_prompts(tmp_path):
    """Training prompts of which the second follows a system turn."""
    asked = {"role": "user", "content": "Hello?"}
    rows = [
        {"id": f"{lang}{k}", "lang": lang, "messages": [*before, asked]}
        for lang in ("en", "es")
        for k, before in enumerate([[], [{"role": "system", "content": "Be kind."}]])
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompts = {"train": ["train.jsonl"], "heldout": ["bundled:prompts-heldout.jsonl"]}
    return {"prompts": prompts, "languages": ["en", "es"]}


def test_a_template_without_a_system_role_is_found_where_prompts_have_one(
    model, found, tmp_path, system_prompts
):
    model("tiny", NO_SYSTEM)
    [(level, text)] = found(**real(), **sampled(tmp_path), **system_prompts)
    assert (level, "'sample'" in text, "'en1'" in text) == ("error", True, True)
    model("other")
    reward = {"reward": {"kind": "classifier", "model": "tiny"}}
    policy = real() | {"policy": "other"}
    [(level, text)] = found(**policy, **sampled(tmp_path), **system_prompts, **reward)
    assert (level, "reward" in text, "'en1'" in text) == ("error", True, True)


@pytest.mark.parametrize("kind", ["reward", "judge", "translate"])
def test_a_system_role_of_a_template_is_found_where_its_model_has_none(
    model, found, tmp_path, kind
):
    model("tiny", NO_SYSTEM)
    ask = ASK | {"messages": [ASK["messages"][0], {"role": "user", "content": "{{ text }}"}]}
    (tmp_path / "ask.yaml").write_text(yaml.safe_dump(ask if kind == "translate" else ASK))
    prompt = {"engine": "transformers", "model": "tiny", "template": "ask.yaml"}
    graded = {"kind": "prompt", "prompt": prompt}
    changed = {
        "reward": {"reward": graded},
        "judge": {"evaluate": {"n": 2, "judge": graded, "identifier": "fake"}},
        "translate": {"translate": {"prompt": prompt}},
    }[kind]
    errors = found(**changed)
    assert errors
    assert all(level == "error" and "system" in text for level, text in errors)
    model("tiny")
    assert found(**changed) == []


def test_a_model_without_a_chat_template_is_found(model, found, tmp_path):
    model("tiny", None)
    [*errors] = found(**real(), **sampled(tmp_path))
    assert {level for level, _ in errors} == {"error"}


def test_a_model_that_cannot_be_had_is_only_warned_of(found, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    made = found(**real() | {"policy": "nobody/nothing"}, **sampled(tmp_path))
    assert {level for level, _ in made} == {"warning"}


def test_a_run_stops_before_it_makes_anything(model, croco, tmp_path, recipes):
    model("tiny")
    values = yaml.safe_load((recipes / "fake.yaml").read_text())
    values |= real(lora={"targets": ["q_porj"]})
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    for verb in ("run", "plan"):
        done = croco(verb, path, check=2)
        assert "q_proj" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "store").exists()
