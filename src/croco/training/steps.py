"""What is laid over TRL's DPO and SFT trainers: micro batches inside a step, and the curve.

One TRL "batch" is one optimizer step. It is cut into micro batches of similar length, each weighted
by its share of the step's pairs (DPO) or response tokens (SFT), so their size changes speed and
memory but not the result (beyond rounding, and the draw of LoRA dropout where that is not 0).
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from croco.records import Step
from croco.stage import Progress

Row = dict[str, list[int]]
Batch = dict[str, Any]


class Steps:
    """What is laid over both TRL trainers: micro batches inside a step, and the training curve."""

    def follow(self: Any, micro_batch: int, progress: Progress) -> None:
        """Cut steps into micro batches of at most `micro_batch` examples, and report each step."""
        from transformers import PrinterCallback

        self.remove_callback(PrinterCallback)
        self.progress = progress
        self.curve: list[Step] = []
        self.sums: defaultdict[str, float] = defaultdict(float)
        self.micro_batch, self.collate = micro_batch, self.data_collator
        self.data_collator = self.parts
        if self.args.device.type == "cpu":
            project_responses_only(self.model.get_base_model())

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


class DpoSteps(Steps):
    """DPO: a micro batch weighs as much as it has pairs."""

    ids = ("prompt_ids", "chosen_ids", "rejected_ids")

    def weight(self, part: Batch) -> int:
        """The pairs in a micro batch."""
        return len(part["input_ids"]) // 2

    def follow(self: Any, micro_batch: int, progress: Progress) -> None:
        """Also compute the reference's log-probabilities, once for all epochs."""
        super().follow(micro_batch, progress)
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


class SftSteps(Steps):
    """SFT: a micro batch weighs as much as it has response tokens."""

    ids = ("input_ids",)

    def weight(self, part: Batch) -> int:
        """The response tokens in a micro batch."""
        return int((part["labels"] != -100).sum())

    def training_step(self: Any, model: Any, inputs: Batch, num_items_in_batch: Any = None) -> Any:
        """Also note the responses' mean log-probability."""
        loss = super().training_step(model, inputs)
        tokens = sum(self.weight(part) for part in inputs["parts"])
        examples = sum(len(part["input_ids"]) for part in inputs["parts"])
        self.sums["logps/chosen"] = -float(loss) * tokens / examples
        return loss


def project_responses_only(model: Any) -> None:
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
        kept = known.any(dim=0).nonzero()[:, 0]
        logits = full(*args, **{**kwargs, "logits_to_keep": kept}).logits[known[:, kept]]
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
