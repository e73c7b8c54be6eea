"""A reward model over TRL's RewardTrainer: all layers, the top ones, or LoRA, on our own token ids.

TRL's tokenisation is passed over: the ids are those of scoring. One TRL "batch" is one optimizer step,
cut into micro batches of similar length, each weighted by its share of the step's pairs, so that their
size changes speed and memory but not the result.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from croco.quiet import quiet
from croco.records import Step
from croco.reward_settings import RewardTraining
from croco.rewards.encoding import Row
from croco.rewards.passes import padding
from croco.settings import Resources
from croco.stage import Progress
from croco.training.reward_pairs import Pair, check_finite

WARMUP_SHARE = 0.1
WEIGHT_DECAY = 0.01
#: The file that is written into a checkpoint when all else of it is there.
WHOLE = "whole"


@dataclass(frozen=True)
class Checkpoints:
    """A folder of one training's checkpoints, and how many seconds of work may be lost."""

    folder: Path
    seconds: float = 600.0

    def latest(self) -> Path | None:
        """The newest checkpoint that was written to its end."""
        found = [path.parent for path in self.folder.glob(f"checkpoint-*/{WHOLE}")]
        return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def train(
    config: RewardTraining,
    pairs: list[Pair],
    model: Any,
    tokenizer: Any,
    resources: Resources,
    progress: Progress,
    checkpoints: Checkpoints | None,
) -> tuple[Any, list[Step]]:
    """Train a classifier, from its newest checkpoint if there is one; the model, LoRA merged, and a Step
    per update.

    The padding id of model and tokenizer becomes one that ends no answer, as a decoder's reward is read
    at the last token that is not padding.
    """
    _set_padding(model, tokenizer, pairs)
    with tempfile.TemporaryDirectory() as scratch, quiet():
        kept = checkpoints or Checkpoints(Path(scratch), math.inf)
        trainer = _trainer(config, pairs, model, tokenizer, kept, resources)
        trainer.follow(pairs, resources.micro_batch, progress)
        start = kept.latest()
        trainer.train(resume_from_checkpoint=str(start) if start else None)
        trained = trainer.accelerator.unwrap_model(trainer.model)
    if config.lora:
        trained = trained.merge_and_unload()
    return trained.to(dtype=_dtype(config)), trainer.steps()


def _trainer(
    config: RewardTraining,
    pairs: list[Pair],
    model: Any,
    tokenizer: Any,
    checkpoints: Checkpoints,
    resources: Resources,
) -> Any:
    import peft
    import trl
    from datasets import Dataset

    lora = config.lora and peft.LoraConfig(
        r=config.lora.r,
        lora_alpha=config.lora.alpha,
        target_modules=config.lora.targets,
        task_type="SEQ_CLS",  # PEFT then trains the head too
    )
    trainer = type("RewardTrainer", (_Steps, trl.RewardTrainer), {})(
        model=model,
        args=_arguments(config, len(pairs), checkpoints, model.device.type == "cpu"),
        train_dataset=Dataset.from_dict({"place": list(range(len(pairs)))}),
        processing_class=tokenizer,
        peft_config=lora,
        callbacks=[_saving(checkpoints)],
    )
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return trainer


def _arguments(config: RewardTraining, count: int, checkpoints: Checkpoints, cpu: bool) -> Any:
    import trl

    steps = math.ceil(config.epochs * math.ceil(count / config.batch_size))
    arguments = trl.RewardConfig(
        output_dir=str(checkpoints.folder),
        seed=config.seed,
        per_device_train_batch_size=config.batch_size,
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=math.ceil(WARMUP_SHARE * steps),
        weight_decay=WEIGHT_DECAY,
        max_length=None,
        use_cpu=cpu,
        bf16=config.dtype == "bfloat16",
        gradient_checkpointing=not cpu,
        dataloader_pin_memory=not cpu,
        remove_unused_columns=False,
        save_strategy="no",  # `_saving` asks for checkpoints
        save_total_limit=2,
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
    )
    if arguments.n_gpu > 1:  # one process trains on one device; TRL refuses to spread over several
        arguments._n_gpu = 1
    return arguments


def _dtype(config: RewardTraining) -> Any:
    import torch

    return getattr(torch, config.dtype)


def _set_padding(model: Any, tokenizer: Any, pairs: list[Pair]) -> None:
    ends = {row["input_ids"][-1] for pair in pairs for row in (pair.chosen, pair.rejected)}
    known = [padding(model), tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id]
    fitting = [one for one in known if one is not None and one not in ends]
    pad = fitting[0] if fitting else known[0]
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
    model.config.get_text_config().pad_token_id = pad


def _saving(checkpoints: Checkpoints) -> Any:
    """The trainer's callback that asks for a checkpoint now and then, and marks it when it is whole."""
    from transformers import TrainerCallback

    class Saving(TrainerCallback):
        last = time.monotonic()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if time.monotonic() - self.last >= checkpoints.seconds:
                control.should_save = True

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            (checkpoints.folder / f"checkpoint-{state.global_step}" / WHOLE).touch()
            self.last = time.monotonic()

    return Saving()


class _Steps:
    """What is laid over TRL's trainer: our token ids, micro batches inside a step, and the curve."""

    def follow(self: Any, pairs: list[Pair], micro_batch: int, progress: Progress) -> None:
        """Train on the pairs, at most `micro_batch` of them a pass, and report each step."""
        from transformers import PrinterCallback

        self.remove_callback(PrinterCallback)
        self.pairs, self.micro_batch, self.progress = pairs, micro_batch, progress
        self.sums: defaultdict[str, float] = defaultdict(float)
        self.collate, self.data_collator = self.data_collator, self._parts

    def steps(self: Any) -> list[Step]:
        """The training curve, with the part of it before a checkpoint that was gone on from."""
        return [
            Step(
                step=row["step"],
                epoch=row["epoch"],
                loss=row["loss"],
                learning_rate=row["learning_rate"],
                chosen_logp=math.nan,
                rejected_logp=math.nan,
                margin=row["margin"],
                accuracy=row["accuracy"],
            )
            for row in self.state.log_history
            if "loss" in row
        ]

    def _parts(self: Any, rows: list[dict[str, int]]) -> dict[str, Any]:
        pairs = [self.pairs[row["place"]] for row in rows]
        pairs.sort(key=lambda pair: len(pair.chosen["input_ids"]) + len(pair.rejected["input_ids"]))
        starts = range(0, len(pairs), self.micro_batch)
        return {"parts": [self._part(pairs[k : k + self.micro_batch]) for k in starts]}

    def _part(self: Any, pairs: list[Pair]) -> dict[str, Any]:
        """TRL's padded batch of chosen, then rejected; with token types where the base reads them."""
        sides = [_named(pair.chosen, pair.rejected, "input_ids") for pair in pairs]
        part: dict[str, Any] = self.collate(sides)
        if "token_type_ids" in pairs[0].chosen:
            import torch

            rows = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
            types = torch.zeros_like(part["input_ids"])
            for k, row in enumerate(rows):
                types[k, : len(row["token_type_ids"])] = torch.tensor(row["token_type_ids"])
            part["token_type_ids"] = types
        return part | {"pairs": pairs}

    def training_step(self: Any, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """The loss of an optimizer step, its gradient summed over the micro batches."""
        step = super().training_step  # type: ignore[misc]
        total = sum(len(part["pairs"]) for part in inputs["parts"])
        return sum(step(model, part, total) for part in inputs["parts"])

    def compute_loss(
        self: Any,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: int = 1,
    ) -> Any:
        """The micro batch's share of the mean loss over the step's pairs."""
        pairs = inputs.pop("pairs")
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True)  # type: ignore[misc]
        chosen, rejected = outputs.logits.detach().float().squeeze(-1).chunk(2)
        margins = (chosen - rejected).tolist()
        check_finite(margins, pairs, self.state.global_step + 1)
        self.sums["margin"] += sum(margins) / num_items_in_batch
        self.sums["accuracy"] += sum(margin > 0 for margin in margins) / num_items_in_batch
        return loss * len(pairs) / num_items_in_batch

    def log(self: Any, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add margin and accuracy over the whole step to its log, and report it."""
        self._metrics["train"].clear()
        if "loss" in logs:  # not the summary at the end
            logs |= self.sums
            self.sums = defaultdict(float)
            self.progress(self.state.global_step, self.state.max_steps, f"loss {logs['loss']:.3g}")
        super().log(logs, start_time)  # type: ignore[misc]

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset  # the ids are ready

    def create_model_card(self, *_: Any, **__: Any) -> None:
        pass  # not for checkpoints

    def _send_telemetry(self) -> None:
        pass  # TRL would call home


def _named(chosen: Row, rejected: Row, name: str) -> dict[str, list[int]]:
    return {"chosen_ids": chosen[name], "rejected_ids": rejected[name]}
