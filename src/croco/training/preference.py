"""DPO and SFT with LoRA on stored token ids: TRL computes the loss, PEFT holds the adapter.

The ids are trained on as they were sampled: nothing is tokenised, truncated or ended with an
end-of-turn token. One TRL "batch" is one optimizer step; it is cut into micro batches of similar
length, each weighted by its share of the step, so their size changes speed and memory but not the
result (beyond rounding, and the draw of LoRA dropout where that is not 0).
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from croco import models
from croco.errors import EngineError
from croco.models import ModelRef
from croco.recipe import Resources, TrainConfig
from croco.records import Step
from croco.training import Example, Progress

Row = dict[str, list[int]]
Batch = dict[str, Any]

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
    with tempfile.TemporaryDirectory() as scratch, _quiet():
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
    kind = type("Tuner", (_Dpo, trl.DPOTrainer) if dpo else (_Sft, trl.SFTTrainer), {})
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


class _Steps:
    """What is laid over both TRL trainers: micro batches inside a step, and the training curve."""

    def follow(self: Any, micro_batch: int, progress: Progress) -> None:
        """Cut steps into micro batches of at most `micro_batch` examples, and report each step."""
        from transformers import PrinterCallback

        self.remove_callback(PrinterCallback)
        self.curve, self.progress, self.sums = [], progress, defaultdict(float)
        self.micro_batch, self.collate = micro_batch, self.data_collator
        self.data_collator = self.parts
        if self.args.device.type == "cpu":
            _project_responses_only(self.model.get_base_model())

    def parts(self: Any, rows: list[Row]) -> Batch:
        """The micro batches of rows, of similar length so that little is padded."""
        rows = sorted(rows, key=lambda row: sum(len(row[name]) for name in self.ids))
        starts = range(0, len(rows), self.micro_batch)
        return {"parts": [self.collate(rows[i : i + self.micro_batch]) for i in starts]}

    def training_step(self: Any, model: Any, inputs: Batch, num_items_in_batch: Any = None) -> Any:
        """The loss of an optimizer step, its gradient summed over the micro batches."""
        total = sum(self.weight(part) for part in inputs["parts"])
        step = super().training_step  # type: ignore[misc]
        return sum(step(model, part, total) for part in inputs["parts"])

    def log(self: Any, logs: dict[str, float], start_time: float | None = None) -> None:
        """Make the log of an optimizer step a row of the curve."""
        self._metrics["train"].clear()
        if "loss" not in logs:  # the summary at the end
            return
        step, sums = self.state.global_step, self.sums
        self.sums = defaultdict(float)
        names = ("logps/chosen", "logps/rejected", "rewards/margins", "rewards/accuracies")
        values = [sums.get(name, math.nan) for name in names]
        row = Step(step, float(self.state.epoch), logs["loss"], logs["learning_rate"], *values)
        self.curve.append(row)
        self.progress(step, self.state.max_steps, f"loss {row.loss:.3g}")

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset  # the ids are ready

    def _send_telemetry(self) -> None:
        pass  # TRL would call home


class _Dpo(_Steps):
    ids = ("prompt_ids", "chosen_ids", "rejected_ids")

    def weight(self, part: Batch) -> int:
        """The pairs in a micro batch."""
        return len(part["input_ids"]) // 2

    def follow(self: Any, micro_batch: int, progress: Progress) -> None:
        """Also compute the reference's log-probabilities, once for all epochs."""
        super().follow(micro_batch, progress)  # type: ignore[safe-super]
        if self.args.num_train_epochs > 1:
            self.precompute_ref_logps = True
            self.train_dataset = self._with_reference(self.train_dataset)

    def _with_reference(self: Any, dataset: Any) -> Any:
        order = sorted(range(len(dataset)), key=lambda i: sum(len(dataset[i][n]) for n in self.ids))
        found: dict[int, tuple[float, float]] = {}
        for start in range(0, len(order), self.micro_batch):
            part = order[start : start + self.micro_batch]
            batch = self._prepare_inputs(self.collate([dataset[i] for i in part]))
            pairs = zip(*self.compute_ref_log_probs(self.model, batch), strict=True)
            found.update(zip(part, [(float(c), float(r)) for c, r in pairs], strict=True))
        chosen, rejected = zip(*(found[i] for i in range(len(dataset))), strict=True)
        dataset = dataset.add_column("ref_chosen_logps", list(chosen))
        return dataset.add_column("ref_rejected_logps", list(rejected))

    def compute_loss(
        self: Any,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: int = 0,
    ) -> Any:
        """The micro batch's share of the mean loss over the step's pairs."""
        loss = super().compute_loss(model, inputs)  # type: ignore[misc]
        share = self.weight(inputs) / num_items_in_batch
        for name, values in self._metrics["train"].items():
            self.sums[name] += share * values[-1]
        return loss * share


class _Sft(_Steps):
    ids = ("input_ids",)

    def weight(self, part: Batch) -> int:
        """The response tokens in a micro batch."""
        return int((part["labels"] != -100).sum())

    def training_step(self: Any, model: Any, inputs: Batch, num_items_in_batch: Any = None) -> Any:
        """Also note the responses' mean log-probability."""
        loss = super().training_step(model, inputs)  # type: ignore[safe-super]
        tokens = sum(self.weight(part) for part in inputs["parts"])
        examples = sum(len(part["input_ids"]) for part in inputs["parts"])
        self.sums["logps/chosen"] = -float(loss) * tokens / examples
        return loss


def _save(model: Any, policy: ModelRef, source: Path, out: Path) -> None:
    import peft
    from safetensors.torch import save_file

    out.mkdir(parents=True, exist_ok=True)
    config = model.peft_config["default"]
    config.base_model_name_or_path, config.inference_mode = policy.name, True
    config.target_modules = sorted(config.target_modules)  # a set's order differs from run to run
    config.save_pretrained(str(out))
    weights = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    save_file(tensors, out / "adapter_model.safetensors", metadata={"format": "pt"})
    for pattern in TOKENIZER_FILES:
        for file in source.glob(pattern):
            shutil.copyfile(file, out / file.name)


def _project_responses_only(model: Any) -> None:
    """Replace TRL's language-model head, which off the GPU projects prompts onto the vocabulary too.

    Takes three times as long otherwise on a CPU. Entropies and the like are not computed.
    """
    import torch
    from trl.trainer.utils import FusedCausalLMOutput

    full = model.forward

    def forward(*args: Any, labels: Any = None, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return full(*args, labels=labels, **kwargs)
        labels, known = labels[:, 1:], labels[:, 1:] != -100
        first = int(known.any(dim=0).nonzero()[0])
        keep = labels.shape[1] - first + 1
        logits = full(*args, **{**kwargs, "logits_to_keep": keep}).logits[:, :-1][known[:, first:]]
        losses = torch.nn.functional.cross_entropy(logits.float(), labels[known], reduction="none")
        log_probs = losses.new_zeros(known.shape).masked_scatter(known, -losses)
        nothing = torch.zeros_like(log_probs)
        return FusedCausalLMOutput(
            log_probs=log_probs,
            entropy=nothing,
            mean_logits=nothing,
            is_top1=nothing.bool(),
            label_mask=known,
        )

    model.forward = forward


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars of others on stderr."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
