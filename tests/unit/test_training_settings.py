"""What a recipe may say of training, and what it may not."""

from __future__ import annotations

import pydantic
import pytest

from croco.training_settings import TrainConfig

WRONG = [
    ({"method": "sft", "loss": "ipo"}, "loss belongs to DPO"),
    ({"method": "sft", "sft_weight": 1.0}, "sft_weight belongs to DPO"),
    ({"label_smoothing": 0.1}, "label_smoothing is for the losses robust and exo_pair"),
    ({"loss": "exo_pair"}, "needs label_smoothing above 0"),
    ({"watch": {"every": 5}}, "watch needs held-out prompts: set heldout_share"),
    ({"loss": "aot"}, "loss"),
    ({"heldout_share": 1.0}, "less than 1"),
    ({"batchsize": 3}, "Extra inputs"),
]


@pytest.mark.parametrize(("settings", "said"), WRONG)
def test_what_cannot_be_is_refused(settings, said):
    with pytest.raises(pydantic.ValidationError, match=said):
        TrainConfig.model_validate(settings)


def test_the_defaults_are_the_papers():
    config = TrainConfig()
    assert (config.beta, config.loss, config.schedule) == (0.1, "sigmoid", "cosine")
    assert (config.warmup_share, config.weight_decay, config.max_length) == (0.05, 0.01, 4096)
    assert config.lora is not None
    assert (config.lora.r, config.lora.alpha, config.lora.dropout) == (16, 32, 0.05)
    assert config.rate == 5e-6
    assert TrainConfig(method="sft").rate == 2e-4
    assert config.batch_size == 64  # micro-batch 1, accumulation 8, on 8 GPUs


def test_a_constant_schedule_has_no_warm_up():
    assert TrainConfig(schedule="constant", warmup_share=0).warmup_share == 0
    with pytest.raises(pydantic.ValidationError, match="constant_with_warmup"):
        TrainConfig(schedule="constant", warmup_share=0.2)


def test_no_lora_tunes_all_weights():
    assert TrainConfig(lora=None).lora is None
    assert not TrainConfig(lora=None).quantized


@pytest.mark.parametrize("name", ["eurollm-9b", "tiny-aya"])
def test_the_papers_recipes_say_its_settings(name, recipes):
    """They are written down there, and are the defaults: neither may change without the other."""
    from croco import pipeline, recipe_file

    heldout = "prompts.heldout=[bundled:prompts-heldout.jsonl]"
    loaded = recipe_file.load(recipes / f"{name}.yaml", [heldout])
    for arm, own in loaded.arms.items():
        method = arm.partition("-")[0]
        default = TrainConfig(method=method)
        assert own.train == default.model_copy(update={"learning_rate": default.rate})
        assert own.pair.scope == arm.partition("-")[2]
        assert own.pair.rejected == "mean-2std"
    assert (loaded.sample.n, loaded.sample.temperature, loaded.sample.max_tokens) == (64, 1, 4096)
    assert loaded.seed == 42
    stages = pipeline.build(loaded)
    assert stages["dpo-monolingual.train"].resources.processes == 8
    assert "dpo-multilingual.reference" in stages
