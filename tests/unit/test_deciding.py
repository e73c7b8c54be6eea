"""Of resources, what sets a precision or a value is in the identity or refused, and the rest is not."""

import subprocess
import sys

import pytest
import yaml

from croco import pipeline, recipe_file
from croco.errors import RecipeError
from croco.training import accelerating
from croco.training_settings import TrainConfig

RECIPE = {
    "name": "r",
    "languages": ["en"],
    "policy": "fake",
    "prompts": {
        "train": ["bundled:prompts-train.jsonl"],
        "heldout": ["bundled:prompts-heldout.jsonl"],
    },
    "sample": {"engine": "fake", "n": 4},
    "reward": {"kind": "fake"},
    "arms": {"dpo": {"train": {"trainer": "fake"}}},
    "evaluate": {
        "judge": {"kind": "function", "function": "croco.rewards.fake:brevity"},
        "identifier": "fake",
    },
}


def identities(folder, **resources):
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(RECIPE | {"resources": resources}))
    built = pipeline.build(recipe_file.load(path))
    return {name: stage.identity for name, stage in built.items()}


def config_file(folder, **values):
    path = folder / "accelerate.yaml"
    common = {"compute_environment": "LOCAL_MACHINE", "num_processes": 2, "machine_rank": 0}
    path.write_text(yaml.safe_dump(common | values))
    return path


LORA, WHOLE = TrainConfig(), TrainConfig(lora=None)


@pytest.mark.parametrize(
    "values",
    [
        {"mixed_precision": "bf16"},
        {"mixed_precision": "fp8", "fp8_config": {"backend": "TE"}},
        {"fp16": True},
        {"downcast_bf16": True},
        {"fsdp_config": {"fsdp_mixed_precision_policy": "bf16"}},
        {"deepspeed_config": {"gradient_clipping": 0.5, "zero_stage": 2}},
        {"deepspeed_config": {"gradient_clipping": 0}},
        {"deepspeed_config": {"gradient_accumulation_steps": 4}},
        {"megatron_lm_config": {"megatron_lm_gradient_clipping": 0.5}},
        {"something_new": 3},
    ],
)
def test_a_config_file_that_sets_a_value_is_refused_before_anything_starts(tmp_path, values):
    path = config_file(tmp_path, **values)
    with pytest.raises(RecipeError, match=str(path)):
        accelerating.meant(path, LORA)
    with pytest.raises(RecipeError, match=str(path)):
        identities(tmp_path, train={"accelerate": path.name})


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"mixed_precision": "no", "downcast_bf16": "no", "use_cpu": True, "debug": False},
        {"distributed_type": "FSDP", "fsdp_config": {"fsdp_version": 2, "fsdp_min_num_params": 0}},
        {
            "distributed_type": "DEEPSPEED",
            "deepspeed_config": {
                "zero_stage": 3,
                "gradient_clipping": 1.0,
                "gradient_accumulation_steps": 1,
                "offload_optimizer_device": "none",
            },
        },
    ],
)
def test_a_config_file_about_places_changes_no_identity(tmp_path, values):
    path = config_file(tmp_path, **values)
    assert accelerating.meant(path, LORA) == {}
    assert identities(tmp_path, train={"accelerate": path.name}) == identities(tmp_path)


def test_a_deepspeed_file_may_not_bring_an_optimizer_or_leave_clipping_out(tmp_path):
    deep = tmp_path / "ds.json"
    path = config_file(tmp_path, deepspeed_config={"deepspeed_config_file": str(deep)})
    deep.write_text('{"gradient_clipping": "auto", "zero_optimization": {"stage": 2}}')
    assert accelerating.meant(path, LORA) == {}
    for text in (
        '{"zero_optimization": {"stage": 2}}',
        '{"gradient_clipping": "auto", "optimizer": {"type": "Adam"}}',
        '{"gradient_clipping": "auto", "bf16": {"enabled": true}}',
    ):
        deep.write_text(text)
        with pytest.raises(RecipeError, match=str(deep)):
            accelerating.meant(path, LORA)


def test_shards_of_a_whole_model_in_16_bits_are_another_training(tmp_path):
    """FSDP sums their gradients in 16 bits; the trained weights of LoRA are float32 in any case."""
    path = config_file(tmp_path, distributed_type="FSDP", mixed_precision="bf16")
    assert accelerating.meant(path, WHOLE) == {"sharded": "FSDP"}
    path = config_file(tmp_path, distributed_type="MULTI_GPU", mixed_precision="bf16")
    assert accelerating.meant(path, WHOLE) == {}


@pytest.mark.parametrize("text", ["[1, 2", "just words", ""])
def test_what_is_no_config_file_is_one_sentence(tmp_path, text):
    (tmp_path / "accelerate.yaml").write_text(text)
    with pytest.raises(RecipeError, match="accelerate"):
        identities(tmp_path, train={"accelerate": "accelerate.yaml"})


@pytest.mark.parametrize(
    ("mixed", "expected"), [({"lora": None}, "bf16"), ({}, "no"), ({"method": "sft"}, "no")]
)
def test_the_environment_decides_no_precision_of_training(tmp_path, mixed, expected):
    """As `accelerate launch` would pass on another one, or a shell."""
    pytest.importorskip("trl")
    code = (
        "import sys, json; from pathlib import Path\n"
        "from croco.training import Place, preference\n"
        "from croco.training_settings import TrainConfig\n"
        "config = TrainConfig(**json.loads(sys.argv[1]))\n"
        "place = Place(Path(sys.argv[2]), Path(sys.argv[2]))\n"
        "print(preference._arguments(config, 10, place, 1).mixed_precision)\n"
    )
    import json
    import os

    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(mixed), str(tmp_path)],
        env=os.environ | {"ACCELERATE_MIXED_PRECISION": "fp16"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == expected


def test_the_name_that_a_server_is_asked_for_is_in_the_identity_and_its_address_is_not(tmp_path):
    pytest.importorskip("openai")
    served = {
        "sample": {"engine": "openai", "n": 2},
        "evaluate": {**RECIPE["evaluate"], "engine": "fake"},
    }

    def sampled(**server):
        path = tmp_path / "recipe.yaml"
        resources = {"sample": {"server": {"url": "http://a.example/v1"} | server}}
        path.write_text(yaml.safe_dump(RECIPE | served | {"resources": resources}))
        return pipeline.build(recipe_file.load(path))["sample"].identity

    assert sampled() == sampled(url="http://b.example/v1", concurrency=3, timeout=5, retries=1)
    assert len({sampled(), sampled(model="large"), sampled(model="small")}) == 3


def test_every_key_of_resources_is_known_to_set_no_value():
    """Who adds one decides what it is: see docs/design.md, "Identity and reuse"."""
    from croco.settings import Resources, Server

    places = (
        "device threads gradient_checkpointing checkpoint_every processes trackers tensor_parallel"
        " data_parallel memory_share max_sequences max_context environment workers gpus cpus memory"
        " custom slurm"
    )
    order_of_sums = "batch_size micro_batch batch_tokens padding_free"
    deciding = "accelerate server"  # what of them sets a value is in `Stage.deciding`
    assert set(Resources.model_fields) == set(f"{places} {order_of_sums} {deciding}".split())
    assert set(Server.model_fields) == {
        *("url", "model", "key", "concurrency", "retries", "timeout", "price")
    }
