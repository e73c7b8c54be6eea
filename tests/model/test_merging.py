"""Merged weights are the adapter at run time, tied embeddings too, or nothing is written."""

import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from croco.errors import EngineError
from croco.training.export import Tuned, export

pytestmark = pytest.mark.model
ABOUT = {
    "run": "tuned",
    "arm": "dpo",
    "languages": ["en"],
    "recipe": {"arms": {"dpo": {"train": {"method": "dpo"}}}},
    "versions": {},
}
KINDS = {
    "inner": {"target_modules": ["embed_tokens"]},
    "outer": {"target_modules": ["lm_head", "q_proj"]},
    "both": {"target_modules": ["embed_tokens", "lm_head"]},
    "saved": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "neither": {"target_modules": ["q_proj", "down_proj"]},
}


@pytest.fixture
def tuned(request, tiny_policy, tmp_path):
    """A random adapter on the tiny policy, whose embeddings are tied."""
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_policy.location)
    assert base.config.tie_word_embeddings
    config = peft.LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **KINDS[request.param])
    made = peft.get_peft_model(base, config)
    torch.manual_seed(1)
    for name, parameter in made.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    made.save_pretrained(tmp_path / "adapter")
    for file in Path(tiny_policy.location).glob("tokenizer*"):
        shutil.copyfile(file, tmp_path / "adapter" / file.name)
    return Tuned(tmp_path / "adapter", tiny_policy, ABOUT)


def logits(model):
    with torch.inference_mode():
        return model.eval()(torch.arange(3, 40)[None]).logits.float()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("tuned", KINDS, indirect=True)
def test_merged_weights_are_the_adapter(tuned, tiny_policy, tmp_path):
    assert export(tuned, tmp_path / "out", True, "float32")
    load = transformers.AutoModelForCausalLM.from_pretrained
    plain = logits(load(tiny_policy.location))
    expected = logits(peft.PeftModel.from_pretrained(load(tiny_policy.location), str(tuned.files)))
    assert (expected - plain).abs().max() > 0.5
    torch.testing.assert_close(logits(load(tmp_path / "out")), expected, atol=1e-4, rtol=0)
    assert export(tuned, tmp_path / "half", True, "bfloat16")
    half = logits(load(tmp_path / "half", dtype=torch.float32))
    assert (half - expected).abs().max() < 0.1 * (expected - plain).abs().max()


@pytest.mark.parametrize("tuned", ["neither"], indirect=True)
def test_a_merge_that_is_not_the_adapter_is_not_written(tuned, tmp_path, monkeypatch):
    """As PEFT would have it, if it left out a module."""
    from peft.tuners.lora import Linear

    monkeypatch.setattr(Linear, "merge", lambda *_, **__: None)
    with pytest.raises(EngineError, match="differ by"):
        export(tuned, tmp_path / "out", True, "float32")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tuned", ["inner"], indirect=True)
def test_a_model_that_loads_otherwise_is_not_written(tuned, tmp_path, monkeypatch):
    """As transformers would have it, if it saved tied weights once."""
    plain = transformers.PreTrainedModel.save_pretrained

    def tied(self, out, **options):
        self.config.tie_word_embeddings = True
        self.lm_head.weight = self.model.embed_tokens.weight
        plain(self, out, **options)
        self.lm_head.weight = torch.nn.Parameter(self.lm_head.weight + 1)

    monkeypatch.setattr(transformers.PreTrainedModel, "save_pretrained", tied)
    with pytest.raises(EngineError, match="loaded from its files"):
        export(tuned, tmp_path / "out", True, "float32")
    assert not (tmp_path / "out").exists()
