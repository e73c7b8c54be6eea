"""The config file for accelerate says where training runs; what is computed, the recipe alone says.

A key that sets a precision or another value would change the weights under an unchanged identity, so all
keys but those known to be about places are refused, unless they say what the recipe says too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from croco.errors import RecipeError
from croco.training_settings import TrainConfig

#: Keys about machines, processes and the network; `*` stands for any end.
PLACES = (
    "compute_environment distributed_type debug num_* machine_rank gpu_ids main_* rdzv_backend"
    " same_network enable_cpu_affinity use_cpu mpirun_config parallelism_config dynamo_* tpu_*"
    " command_file commands fsdp_config deepspeed_config"
)
#: Keys about how shards of a model are kept.
FSDP = (
    "fsdp_version fsdp_sharding_strategy fsdp_reshard_after_forward fsdp_auto_wrap_policy"
    " fsdp_transformer_layer_cls_to_wrap fsdp_min_num_params fsdp_backward_prefetch*"
    " fsdp_forward_prefetch fsdp_offload_params fsdp_state_dict_type fsdp_sync_module_states"
    " fsdp_use_orig_params fsdp_cpu_ram_efficient_loading fsdp_activation_checkpointing"
)
DEEPSPEED = (
    "zero_stage offload_* zero3_init_flag zero3_save_16bit_model deepspeed_multinode_launcher"
    " deepspeed_hostfile deepspeed_inclusion_filter deepspeed_exclusion_filter"
    " deepspeed_moe_layer_cls_names deepspeed_config_file"
)
DEEPSPEED_FILE = (
    "zero_optimization zero_allow_untested_optimizer zero_force_ds_cpu_optimizer steps_per_print"
    " wall_clock_breakdown dump_state activation_checkpointing comms_logger flops_profiler aio"
)
#: What a key says that is turned off.
OFF = ("", "no", "none", "false")
#: Keys of which nothing is a value too.
MUST = ("gradient_clipping", "fp16", "bf16")


def precision_of(config: TrainConfig) -> str:
    """Accelerate's name for how a training reads its weights: whole models are float32, read in `dtype`."""
    named = {"bfloat16": "bf16", "float16": "fp16"}
    return named.get(config.dtype, "no") if config.lora is None else "no"


def fix(precision: str) -> None:
    """Let the environment, from which accelerate takes what it is not told, say this precision."""
    os.environ["ACCELERATE_MIXED_PRECISION"] = precision


def read(path: Path) -> dict[str, Any]:
    """What a config file says; RecipeError where it is none."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except (OSError, ValueError, yaml.YAMLError) as error:
        why = str(error).splitlines()[0]
        raise RecipeError(f"{path}: not a config file for accelerate ({why}): make one") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: not a config file for accelerate: make one")
    return values


def meant(path: Path, config: TrainConfig) -> dict[str, str]:
    """What a config file sets that the identity must know; RecipeError where that is the recipe's to set.

    Whole models in 16 bits are sharded by FSDP and DeepSpeed in that precision, sums of gradients included;
    in one process, or in several without sharding, they are not.
    """
    values, own = read(path), precision_of(config)
    clipping = ("auto", config.max_grad_norm)
    same = {
        "mixed_precision": ("no", own),
        "gradient_accumulation_steps": ("auto", 1),
        "gradient_clipping": clipping,
        "train_batch_size": ("auto",),
        "train_micro_batch_size_per_gpu": ("auto", 1),
        "fp16": ({"enabled": "auto"}, {"enabled": own == "fp16"}),
        "bf16": ({"enabled": "auto"}, {"enabled": own == "bf16"}),
    }
    _check(path, values, PLACES, same)
    _check(path, values.get("fsdp_config") or {}, FSDP, same)
    deep = values.get("deepspeed_config") or {}
    _check(path, deep, DEEPSPEED, same)
    if deep.get("deepspeed_config_file"):
        further = Path(deep["deepspeed_config_file"])
        # What the file does not say, DeepSpeed chooses: no clipping, and float32.
        told = {"gradient_clipping": 0.0} | ({own: {}} if own != "no" else {}) | read(further)
        _check(further, told, DEEPSPEED_FILE, same)
    kind = str(values.get("distributed_type", "NO"))
    return {"sharded": kind} if own != "no" and kind in ("FSDP", "DEEPSPEED") else {}


def _check(
    path: Path, values: Mapping[str, Any], places: str, same: Mapping[str, tuple[Any, ...]]
) -> None:
    for key, value in values.items():
        wanted = same.get(key, ())
        off = value in (None, {}, []) or value is False or str(value).lower() in OFF
        if not (value in wanted or _is_place(key, places) or (off and key not in MUST)):
            said = json.dumps(value, default=str)
            remedy = f"write {json.dumps(wanted[0])}" if key in MUST else "remove it"
            raise RecipeError(
                f"{path}: {key}: {said} would change what is trained, which the recipe's `train` alone"
                f" decides: {remedy}"
            )


def _is_place(key: str, places: str) -> bool:
    return any(
        key.startswith(one[:-1]) if one.endswith("*") else key == one for one in places.split()
    )
