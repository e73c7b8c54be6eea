"""DPO and SFT with LoRA on stored token ids: TRL computes the loss, PEFT holds the adapter.

The ids are trained on as they were sampled: nothing is tokenised, truncated or ended with an
end-of-turn token. How an optimizer step is cut into micro batches is `steps`' business.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from croco import models
from croco.errors import EngineError
from croco.models import ModelRef
from croco.quiet import quiet
from croco.recipe import TrainConfig
from croco.records import Step
from croco.settings import Resources
from croco.stage import Progress
from croco.training import Example
from croco.training.steps import DpoSteps, Row, SftSteps

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


def train(
    config: TrainConfig,
    examples: Sequence[Example],
    policy: ModelRef,
    out: Path,
    seed: int,
    resources: Resources,
    progress: Progress,
) -> list[Step]:
    """Tune a LoRA adapter on the examples and write it, with the policy's tokenizer, to `out`.

    `chosen_logp` and `rejected_logp` are nats per response, `margin` is the implicit reward margin
    (beta times the gap of log ratios); of these SFT has only `chosen_logp`. Raises EngineError
    where there is nothing to train on, or an example is empty or longer than `config.max_length`.
    """
    _check(config, examples)
    source = models.fetch(policy)
    with tempfile.TemporaryDirectory() as scratch, quiet():
        trainer = _trainer(config, examples, source, Path(scratch), seed, resources)
        trainer.follow(resources.micro_batch, progress)
        trainer.train()
    _save(trainer.model, policy, source, out)
    return list(trainer.curve)


def _check(config: TrainConfig, examples: Sequence[Example]) -> None:
    if not examples:
        raise EngineError("there are no examples to train on: see why pairing gave none")
    for number, example in enumerate(examples):
        sides = [example.chosen_ids] + [example.rejected_ids] * (config.method == "dpo")
        if not example.prompt_ids or not all(sides):
            raise EngineError(f"training example {number} has an empty prompt or response: drop it")
        longest = len(example.prompt_ids) + max(map(len, sides))
        if longest > config.max_length:
            raise EngineError(
                f"training example {number} is {longest} tokens long, over the max_length of"
                f" {config.max_length}: raise train.max_length or leave the example out"
            )


def _trainer(
    config: TrainConfig,
    examples: Sequence[Example],
    source: Path,
    scratch: Path,
    seed: int,
    resources: Resources,
) -> Any:
    import peft
    import torch
    import transformers
    import trl
    from datasets import Dataset

    if resources.threads:
        torch.set_num_threads(resources.threads)
    lora = peft.LoraConfig(
        r=config.lora.r,
        lora_alpha=config.lora.alpha,
        lora_dropout=config.lora.dropout,
        target_modules=config.lora.targets,
        task_type="CAUSAL_LM",
    )
    dtype = getattr(torch, config.dtype)
    dpo = config.method == "dpo"
    kind = type("Tuner", (DpoSteps, trl.DPOTrainer) if dpo else (SftSteps, trl.SFTTrainer), {})
    return kind(
        model=transformers.AutoModelForCausalLM.from_pretrained(source, dtype=dtype),
        args=_arguments(config, len(examples), scratch, seed, resources),
        train_dataset=Dataset.from_list([_pair(e) if dpo else _answer(e) for e in examples]),
        processing_class=transformers.AutoTokenizer.from_pretrained(source),
        peft_config=lora,
    )


def _pair(example: Example) -> Row:
    return {
        "prompt_ids": example.prompt_ids,
        "chosen_ids": example.chosen_ids,
        "rejected_ids": example.rejected_ids,
    }


def _answer(example: Example) -> Row:
    return {
        "input_ids": example.prompt_ids + example.chosen_ids,
        "labels": [-100] * len(example.prompt_ids) + example.chosen_ids,
    }


def _arguments(
    config: TrainConfig, count: int, scratch: Path, seed: int, resources: Resources
) -> Any:
    import torch
    import trl

    cpu = resources.device == "cpu" or not torch.cuda.is_available()
    steps = math.ceil(config.epochs * math.ceil(count / config.batch_size))
    common: dict[str, Any] = {
        "output_dir": str(scratch),
        "seed": seed,
        "per_device_train_batch_size": config.batch_size,
        "num_train_epochs": config.epochs,
        "learning_rate": config.rate,
        "lr_scheduler_type": config.schedule,
        "warmup_steps": math.ceil(config.warmup_share * steps),
        "weight_decay": config.weight_decay,
        "max_length": None,
        "use_cpu": cpu,
        "bf16": False,  # no mixed precision: the base has its dtype, the adapter float32
        "gradient_checkpointing": False,
        "dataloader_pin_memory": not cpu,
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": [],
        "disable_tqdm": True,
    }
    if config.method == "sft":
        return trl.SFTConfig(**common, dataset_kwargs={"skip_prepare_dataset": True})
    return trl.DPOConfig(**common, beta=config.beta, loss_type=["sigmoid"], disable_dropout=False)


def _save(model: Any, policy: ModelRef, source: Path, out: Path) -> None:
    import peft
    from safetensors.torch import save_file

    out.mkdir(parents=True, exist_ok=True)
    config = model.peft_config["default"]
    config.base_model_name_or_path, config.inference_mode = models.base_name(policy), True
    config.target_modules = sorted(config.target_modules)  # a set's order differs from run to run
    config.save_pretrained(str(out))
    weights = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    save_file(tensors, out / "adapter_model.safetensors", metadata={"format": "pt"})
    for pattern in TOKENIZER_FILES:
        for file in source.glob(pattern):
            shutil.copyfile(file, out / file.name)
