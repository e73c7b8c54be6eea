"""The policy in training: its weights as they are loaded, and what of them is saved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from croco import loading, models
from croco.errors import EngineError
from croco.models import ModelRef
from croco.settings import Dtype
from croco.training_settings import Lora, TrainConfig

#: What a tokenizer and its chat template are made of; copied as they are.
TOKENIZER_FILES = (
    "tokenizer*",
    "chat_template*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
)
ADAPTER = "adapter_config.json"


def load(config: TrainConfig, policy: ModelRef, start: Path | None, device: str) -> Any:
    """The model to train: with a new adapter, with the adapter of `start` to go on with, or as a whole.

    Raises EngineError where `start` does not belong to the policy or to what the recipe trains.
    """
    import peft

    adapter = start is not None and (start / ADAPTER).exists()
    if start is not None and adapter != (config.lora is not None):
        was = "an adapter" if adapter else "a whole model"
        raise EngineError(
            f"training goes on from {was}: give both arms the same train.lora (null: all weights)"
        )
    source = models.fetch(policy) if start is None or adapter else start
    model = _weights(source, precision(config), config.quantized, device)
    if config.lora is None:
        return model
    if start is None:
        return peft.get_peft_model(model, _lora(config.lora))
    _check(start, policy, config.lora)
    return loading.put_on(model, start, config.lora.dropout)


def frozen(policy: ModelRef, start: Path | None, dtype: Dtype, quantized: bool, device: str) -> Any:
    """The model to begin with, not to be trained: the reference, weight by weight what `load` gives."""
    policy, adapter = models.tuned(policy, start)
    model = _weights(models.fetch(policy), dtype, quantized, device)
    return loading.put_on(model, adapter) if adapter else model


def precision(config: TrainConfig) -> Dtype:
    """The weights' own precision. Those that are trained are float32: bfloat16 has 8 bits of mantissa, in
    which most steps of a small learning rate are lost."""
    return "float32" if config.lora is None else config.dtype


def _weights(source: Path, dtype: Dtype, quantized: bool, device: str) -> Any:
    """A base's weights; of one in 4 bits, what is not quantised (norms, embeddings, head) is float32."""
    import torch
    import transformers

    own = getattr(torch, dtype)
    if not quantized:
        return loading.causal(source, dtype=own)
    import peft

    form = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=own,
    )
    try:
        model = loading.causal(source, dtype=own, quantization_config=form, device_map={"": device})
    except ImportError as error:
        if "bitsandbytes" not in str(error):
            raise
        raise EngineError(
            "lora.quantized needs bitsandbytes: pip install 'croco-llm[4bit]'"
        ) from error
    for module in model.modules():
        # On some CPUs bitsandbytes would pack weights at the first pass in `eval`, for a kernel that
        # rounds otherwise and passes no gradient on.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)


def trained(model: Any) -> dict[str, Any]:
    """The tensors that training changes, by name."""
    return {name: own.data for name, own in model.named_parameters() if own.requires_grad}


def restore(model: Any, tensors: dict[str, Any]) -> None:
    """Give weights the tensors they had where their precision was lowered since.

    TRL rounds the adapter of a quantised model to bfloat16, in which most steps of a small learning rate
    are lost.
    """
    for name, own in model.named_parameters():
        if name in tensors and own.dtype != tensors[name].dtype:
            own.data = tensors[name].to(own.device)


def _lora(config: Lora) -> Any:
    import peft

    return peft.LoraConfig(
        r=config.r,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=config.targets,
        task_type="CAUSAL_LM",
    )


def _check(start: Path, policy: ModelRef, config: Lora) -> None:
    """EngineError unless the adapter of `start` is one of the policy and of LoRA's settings."""
    found = json.loads((start / ADAPTER).read_text(encoding="utf-8"))
    if found["base_model_name_or_path"] != models.base_name(policy):
        raise EngineError(
            f"the adapter to go on with is one of {found['base_model_name_or_path']!r} and the policy is"
            f" {models.base_name(policy)!r}: take the adapter's own base model"
        )
    wanted = {"r": config.r, "lora_alpha": config.alpha, "target_modules": sorted(config.targets)}
    own = {name: found[name] for name in wanted} | {
        "target_modules": sorted(found["target_modules"])
    }
    if own != wanted:
        raise EngineError(
            f"the adapter to go on with has {own} and train.lora asks for {wanted}: make them the same"
        )


def save(model: Any, state: dict[str, Any] | None, policy: ModelRef, out: Path) -> None:
    """Write what was trained to `out`, with the policy's tokenizer files as they are.

    `state` is the state dict where it is gathered from several processes.
    """
    out.mkdir(parents=True, exist_ok=True)
    if hasattr(model, "peft_config"):
        _save_adapter(model, state, policy, out)
    else:
        model.save_pretrained(out, state_dict=state)
    source = models.fetch(policy)
    for pattern in TOKENIZER_FILES:
        for file in source.glob(pattern):
            shutil.copyfile(file, out / file.name)


def _save_adapter(model: Any, state: dict[str, Any] | None, policy: ModelRef, out: Path) -> None:
    import peft
    from safetensors.torch import save_file

    config = model.peft_config["default"]
    config.base_model_name_or_path, config.inference_mode = models.base_name(policy), True
    config.target_modules = sorted(config.target_modules)  # a set's order differs from run to run
    config.save_pretrained(str(out))
    weights = peft.get_peft_model_state_dict(
        model, state_dict=state, adapter_name="default", save_embedding_layers=False
    )
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    save_file(tensors, out / "adapter_model.safetensors", metadata={"format": "pt"})
