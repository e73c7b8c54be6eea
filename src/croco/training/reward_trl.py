"""A reward model over TRL's RewardTrainer: all layers, the top ones, or LoRA, on our own token ids.

TRL's tokenisation is passed over: the ids are those of scoring. One TRL "batch" is one optimizer step,
cut into micro batches of similar length, each weighted by its share of the step's pairs, so that their
size changes speed and memory but not the result.
"""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from croco.errors import RecipeError
from croco.merging import merged
from croco.quiet import quiet
from croco.records import Step
from croco.reward_settings import RewardTraining
from croco.rewards.encoding import Row
from croco.rewards.passes import padding
from croco.settings import Resources
from croco.stage import Progress
from croco.training import accelerating
from croco.training.checkpoints import FOLDER, MARK, PREFIX, Marked, keep_only, step_of
from croco.training.moved import refuse_unmoved, trainable
from croco.training.reward_pairs import Pair, check_finite
from croco.training.schedule import steps_of, warmup_of

WARMUP_SHARE = 0.1
WEIGHT_DECAY = 0.01
#: What only the tuning of policies makes use of.
UNUSED = ("processes", "accelerate", "padding_free", "trackers")


def train(
    config: RewardTraining,
    pairs: list[Pair],
    model: Any,
    tokenizer: Any,
    resources: Resources,
    progress: Progress,
    work: Path | None,
) -> tuple[Any, list[Step]]:
    """Train a classifier, from its newest checkpoint in `work` if there is such; the model, LoRA merged,
    and a Step per update.

    The padding id of model and tokenizer becomes one that ends no answer, as a decoder's reward is read
    at the last token that is not padding. Raises EngineError where no weight is another than before.
    """
    _refuse_unused(resources)
    _set_padding(model, tokenizer, pairs)
    start = newest(work) if work else None
    if work:
        keep_only(work, start)
    with tempfile.TemporaryDirectory() as scratch, quiet():
        arguments = _arguments(config, len(pairs), resources, model.device.type == "cpu")
        arguments.output_dir = str(work / FOLDER if work else scratch)
        if not work:
            arguments.set_save("no")
        trainer = _trainer(config, pairs, model, tokenizer, arguments)
        trainer.follow(pairs, resources.micro_batch, progress)
        begun = trainable(trainer.model)
        trainer.train(resume_from_checkpoint=str(start) if start else None)
        trained = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
        refuse_unmoved(begun, trainable(trained), trainer.state.global_step)
    if config.lora:
        trained = merged(trained.float())  # bfloat16 would round much of the adapter away
    return trained.to(dtype=_dtype(config)), trainer.steps()


def newest(work: Path) -> Path | None:
    """The last checkpoint that was written to its end."""
    whole = (path.parent for path in (work / FOLDER).glob(f"{PREFIX}*/{MARK}"))
    return max(whole, key=step_of, default=None)


def _refuse_unused(resources: Resources) -> None:
    fields = Resources.model_fields
    for name in UNUSED:
        if getattr(resources, name) != fields[name].get_default(call_default_factory=True):
            raise RecipeError(
                f"resources.reward.{name}: reward training has no such thing: remove it"
            )


def _trainer(
    config: RewardTraining,
    pairs: list[Pair],
    model: Any,
    tokenizer: Any,
    arguments: Any,
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
        args=arguments,
        train_dataset=Dataset.from_dict({"place": list(range(len(pairs)))}),
        processing_class=tokenizer,
        peft_config=lora,
    )
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return trainer


def _arguments(config: RewardTraining, count: int, resources: Resources, cpu: bool) -> Any:
    import trl

    accelerating.fix("bf16" if config.dtype == "bfloat16" else "no")
    steps = steps_of(count, config.batch_size, config.epochs)
    arguments = trl.RewardConfig(
        seed=config.seed,
        per_device_train_batch_size=config.batch_size,
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=warmup_of(steps, WARMUP_SHARE),
        weight_decay=WEIGHT_DECAY,
        max_length=None,
        use_cpu=cpu,
        bf16=config.dtype == "bfloat16",
        gradient_checkpointing=resources.gradient_checkpointing,
        dataloader_pin_memory=not cpu,
        remove_unused_columns=False,
        save_strategy="steps",
        save_steps=resources.checkpoint_every,
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


class _Steps(Marked):
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


def _named(chosen: Row, rejected: Row, name: str) -> dict[str, list[int]]:
    return {"chosen_ids": chosen[name], "rejected_ids": rejected[name]}
