"""Weights that files lack are named, not made anew: of models, of heads and of adapters."""

import json
import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from safetensors.torch import load_file, save_file

from croco import engines, loading, models, rewards
from croco.errors import DataError, RecipeError
from croco.records import Candidate
from croco.reward_settings import RewardConfig
from croco.settings import Resources, Sampling

pytestmark = pytest.mark.model
CPU = Resources(device="cpu")


def saved(tiny_policy, folder, outputs=1):
    """A random classifier on the tiny policy's body, with its tokenizer."""
    torch.manual_seed(outputs)
    transformers.AutoModelForSequenceClassification.from_pretrained(
        tiny_policy.location, num_labels=outputs
    ).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(tiny_policy.location).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def trained(tiny_policy, tmp_path_factory):
    return saved(tiny_policy, tmp_path_factory.mktemp("trained"))


def without(folder, out, *parts, file="model.safetensors"):
    """A copy of a model or an adapter without the weights whose names hold one of the parts."""
    shutil.copytree(folder, out)
    weights = load_file(out / file)
    kept = {k: v for k, v in weights.items() if not any(part in k for part in parts)}
    assert len(kept) < len(weights)
    save_file(kept, out / file, metadata={"format": "pt"})
    return out


def scorer(folder):
    return rewards.load(RewardConfig(kind="classifier", model=str(folder)), CPU)


def score(folder):
    return scorer(folder).score([Candidate("en", "hello there", "a cat sat")]).rewards[0]


def refused(call, *words):
    with pytest.raises(DataError) as told:
        call()
    assert told.value.exit_code == 2
    assert "\n" not in str(told.value)
    for word in words:
        assert word in str(told.value)


CHECKS = pytest.mark.parametrize(
    "check", [scorer, loading.check_classifier], ids=["load", "headers"]
)


@CHECKS
def test_a_reward_without_a_trained_head_is_refused(tiny_policy, trained, tmp_path, check):
    check(trained)
    refused(lambda: check(Path(tiny_policy.location)), "score.weight", tiny_policy.location)
    lacking = without(trained, tmp_path / "lacking", "layers.1.mlp.up_proj", "model.norm")
    refused(lambda: check(lacking), "model.norm.weight", "layers.1.mlp.up_proj.weight")


@CHECKS
def test_a_reward_with_several_outputs_is_refused(tiny_policy, tmp_path, check):
    refused(lambda: check(saved(tiny_policy, tmp_path, 3)), "3 outputs", "score.weight")


@CHECKS
def test_weights_of_other_shapes_and_a_head_of_another_name_are_named(trained, tmp_path, check):
    folder = without(trained, tmp_path / "shape", "model.norm")
    weights = load_file(folder / "model.safetensors")
    weights |= {"model.norm.weight": torch.ones(5)}
    weights |= {"v_head.weight": weights.pop("score.weight")}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refused(lambda: check(folder), "model.norm.weight", "score.weight", "v_head.weight")


def test_only_training_makes_a_head_and_only_that(tiny_policy, trained, tmp_path):
    from croco.rewards.classifier import load

    for folder in (tiny_policy.location, saved(tiny_policy, tmp_path / "three", 3)):
        assert load(Path(folder), CPU, new_head=True)[0].score.weight.shape[0] == 1
    lacking = without(trained, tmp_path / "lacking", "layers.1.mlp.up_proj")
    refused(lambda: load(lacking, CPU, new_head=True), "layers.1.mlp.up_proj.weight")


def adapter(base, out, task="CAUSAL_LM", targets=("q_proj",), layers=2, **more):
    """A random LoRA adapter on a model, as PEFT saves it."""
    kind = "CausalLM" if task == "CAUSAL_LM" else "SequenceClassification"
    options = {"num_labels": 1} if task == "SEQ_CLS" else {}
    loader = getattr(transformers, f"AutoModelFor{kind}")
    model = loader.from_pretrained(base, num_hidden_layers=layers, **options)
    config = peft.LoraConfig(r=4, target_modules=list(targets), task_type=task, **more)
    made = peft.get_peft_model(model, config)
    torch.manual_seed(1)
    for name, parameter in made.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    made.save_pretrained(out)
    return made


FILE = "adapter_model.safetensors"


def test_an_adapter_that_lacks_weights_is_refused(tiny_policy, tmp_path):
    """By the engine that puts it on, and from headers alone, as for vLLM."""
    adapter(tiny_policy.location, tmp_path / "whole", targets=("q_proj", "embed_tokens"))
    lacking = without(tmp_path / "whole", tmp_path / "lacking", "layers.1.self", file=FILE)
    adapter(tiny_policy.location, tmp_path / "deep", layers=3)
    shutil.copytree(tmp_path / "whole", tmp_path / "wide")
    config = json.loads((tmp_path / "wide" / "adapter_config.json").read_text())
    (tmp_path / "wide" / "adapter_config.json").write_text(json.dumps(config | {"r": 8}))
    sampling = Sampling(dtype="float32")
    base = Path(tiny_policy.location)
    for check in (
        lambda own: engines.load("transformers", tiny_policy, sampling, CPU, own),
        lambda own: loading.check_adapter(base, own),
    ):
        check(tmp_path / "whole")
        refused(lambda check=check: check(lacking), "layers.1.self_attn.q_proj.lora_A")
        refused(lambda check=check: check(tmp_path / "deep"), "layers.2.self_attn.q_proj.lora_A")
        refused(lambda check=check: check(tmp_path / "wide"), "lora_")


def test_a_policy_without_all_its_weights_is_refused(tiny_policy, tmp_path):
    lacking = without(tiny_policy.location, tmp_path / "lacking", "layers.0.self_attn.k_proj")
    ref = tiny_policy.model_copy(update={"location": str(lacking)})
    load = lambda: engines.load("transformers", ref, Sampling(dtype="float32"), CPU)  # noqa: E731
    refused(load, "layers.0.self_attn.k_proj.weight")


def test_an_adapter_as_reward_is_scored_with_its_head_or_refused(tiny_policy, tmp_path):
    made = adapter(tiny_policy.location, tmp_path / "whole", "SEQ_CLS")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_policy.location)
    assert score(tmp_path / "whole") == pytest.approx(_alone(made, tokenizer), abs=1e-5)
    headless = without(tmp_path / "whole", tmp_path / "headless", "score", file=FILE)
    refused(lambda: score(headless), "score.weight")
    lacking = without(tmp_path / "whole", tmp_path / "lacking", "layers.1.", file=FILE)
    refused(lambda: score(lacking), "layers.1.self_attn.q_proj.lora_A")
    refused(lambda: loading.check_classifier(tmp_path / "whole"), "adapter")


def test_an_adapters_base_is_in_its_identity_and_no_policy_is_an_adapter(tiny_policy, tmp_path):
    def bound():
        return RewardConfig(kind="classifier", model=str(folder)).bound(Path()).ref.revision

    folder, other = tmp_path / "adapter", tmp_path / "other"
    adapter(tiny_policy.location, folder, "SEQ_CLS")
    before, config = bound(), folder / "adapter_config.json"
    shutil.copytree(tiny_policy.location, other)
    with (other / "config.json").open("a") as file:
        file.write(" ")
    config.write_text(config.read_text().replace(tiny_policy.location, str(other)))
    assert before.partition("+")[2] != bound().partition("+")[2]
    with pytest.raises(RecipeError, match=r"no config\.json"):
        models.resolve(str(folder), tmp_path)
    shutil.copyfile(config, other / config.name)
    policy = models.resolve(str(other), tmp_path)
    refused(lambda: engines.load("transformers", policy, Sampling(), CPU), "is an adapter")


def _alone(model, tokenizer):
    from croco.rewards.encoding import encode

    ids = encode(tokenizer, Candidate("en", "hello there", "a cat sat"), 99)["input_ids"]
    with torch.inference_mode():
        return float(model.eval()(torch.tensor([ids])).logits)


def test_what_files_lack_is_found_before_anything_is_sampled(
    tiny_policy, trained, tmp_path, recipes, croco
):
    import yaml

    from croco import recipe_file
    from croco.checks import check

    base, outputs = Path(tiny_policy.location), saved(tiny_policy, tmp_path / "two", 2)
    headless, whole = tmp_path / "headless", tmp_path / "whole"
    adapter(base, headless)
    adapter(base, whole, "SEQ_CLS")
    lacking = without(base, tmp_path / "lacking", "layers.1.mlp.up_proj")
    values = yaml.safe_load((recipes / "fake.yaml").read_text())
    path = tmp_path / "recipe.yaml"

    def found(**changed):
        path.write_text(yaml.safe_dump(values | changed))
        made = [str(one) for one in check(recipe_file.load(path))]
        return [one for one in made if "optimizer step" not in one]

    for own, word in (
        (base, "score.weight"),
        (outputs, "2 outputs"),
        (headless, "score.weight"),
    ):
        [said] = found(reward={"kind": "classifier", "model": str(own)})
        assert word in said
    for own in (trained, whole):
        assert found(reward={"kind": "classifier", "model": str(own)}) == []
    [said] = found(policy=str(lacking), sample={"engine": "transformers", "n": 2, "max_tokens": 4})
    assert "up_proj" in said
    for verb in ("plan", "run"):
        assert "up_proj" in croco(verb, path, check=2).stderr.splitlines()[-1]
    assert not (tmp_path / "store").exists()
