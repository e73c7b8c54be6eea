"""What is laid over TRL's DPO and SFT trainers: what an optimizer step is made of, and its log.

TRL sees a data set of steps. What a step is made of is ours: the same examples in any number of
processes, cut into micro batches of like length. Each is weighted by its share of the step's pairs (DPO)
or response tokens (SFT), so their size changes speed and memory but not the result (beyond rounding, and
the draw of LoRA dropout where that is not 0).
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from croco.errors import EngineError
from croco.records import Step
from croco.training import Example
from croco.training.checkpoints import Marked
from croco.training.heads import row_of
from croco.training.schedule import parts

#: What the curve has of TRL's metrics.
LOGGED = ("logps/chosen", "logps/rejected", "rewards/margins", "rewards/accuracies")


class Steps(Marked):
    """What is laid over both TRL trainers."""

    def follow(
        self: Any, examples: Sequence[Example], plan: list[list[int]], micro_batch: int
    ) -> None:
        """Train on the examples as planned, step by step."""
        from transformers import PrinterCallback

        self.remove_callback(PrinterCallback)
        self.examples, self.plan = examples, plan
        self.micro_batch, self.collate = micro_batch, self.data_collator
        self.data_collator = lambda rows: {"step": rows[0]["step"]}
        self.sums: defaultdict[str, float] = defaultdict(float)
        self.share, self.tokens, self.started = 0.0, 0, time.monotonic()
        # Sums are passed between processes once a step, by us: TRL would wait for the others, whose micro
        # batches are of other sizes, at each of its metrics.
        self.accelerator.gather = self.accelerator.gather_for_metrics = lambda tensor: tensor

    def rows_of(self: Any, step: int) -> list[Example]:
        """The examples of a step, the same in every process."""
        return [self.examples[place] for place in self.plan[step]]

    def get_train_dataloader(self: Any) -> Any:
        """The steps in their order; every process takes all of them, and its share of each."""
        from torch.utils.data import DataLoader

        return DataLoader(self.train_dataset, batch_size=1, collate_fn=self.data_collator)

    def training_step(self: Any, model: Any, inputs: dict[str, int], _: Any = None) -> Any:
        """The loss of an optimizer step, its gradient summed over the micro batches."""
        rows = self.rows_of(inputs["step"])
        if not rows:
            return self._nothing()
        world, tokens = self.accelerator.num_processes, [row.tokens for row in rows]
        own = parts(
            range(len(rows)), tokens, self.micro_batch, self.accelerator.process_index, world
        )
        total = sum(map(self.weight, rows))
        loss = 0.0
        for k, part in enumerate(own, 1):
            taken = [rows[place] for place in part.places]
            self.share = 0.0 if part.idle else sum(map(self.weight, taken)) / total
            with self._synchronised(model, k == len(own)):
                loss += super().training_step(model, self.batch_of(taken, rows))  # type: ignore[misc]
        self._sum_up(rows)
        return loss

    def _nothing(self: Any) -> Any:
        """A step without examples, as online training may have: no gradient, so no weight changes."""
        import torch

        self.sums["loss"] = math.nan
        return torch.zeros((), device=self.args.device)

    @contextlib.contextmanager
    def _synchronised(self: Any, model: Any, last: bool) -> Any:
        """Processes pass their gradients once a step, with its last micro batch."""
        self.accelerator.gradient_state._set_sync_gradients(last)
        with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
            yield

    def compute_loss(self: Any, model: Any, inputs: Any, *_: Any, **__: Any) -> Any:
        """The micro batch's share of the mean loss over the step; processes' gradients are averaged."""
        loss = super().compute_loss(model, inputs)  # type: ignore[misc]
        self.sums["loss"] += self.share * float(loss.detach())
        for name in LOGGED:
            values = self._metrics["train"].get(name)
            if values:
                self.sums[name] += self.share * values[-1]
        self._metrics["train"].clear()
        return loss * self.share * self.accelerator.num_processes

    def _sum_up(self: Any, rows: Sequence[Example]) -> None:
        """Add up the processes' sums; EngineError where the loss is no number."""
        import torch

        if self.accelerator.num_processes > 1:
            names = sorted(self.sums)
            own = torch.tensor([self.sums[n] for n in names], dtype=torch.float64)
            device = self.accelerator.device
            own = own.to(device, torch.float32 if device.type == "mps" else own.dtype)
            self.sums.update(zip(names, self.accelerator.reduce(own).tolist(), strict=True))
        self.tokens += sum(row.tokens for row in rows)
        if not math.isfinite(self.sums["loss"]):
            keys = ", ".join(f"{row.id} {row.lang}".strip() for row in rows[:8])
            raise EngineError(
                f"the loss of step {self.state.global_step + 1} is not a finite number (on {keys}"
                f"{', ...' if len(rows) > 8 else ''}): look at these rows, or lower learning_rate;"
                " the last good checkpoint is kept"
            )

    def log(self: Any, logs: dict[str, float], start_time: float | None = None) -> None:
        """Make the log of an optimizer step a row of the curve."""
        import transformers

        if "loss" not in logs:  # the summary at the end
            return
        step, sums = self.state.global_step, self.sums
        self.sums = defaultdict(float)
        norm = logs.get("grad_norm", 0.0)
        if not math.isfinite(norm):
            raise EngineError(
                f"the gradient of step {step} is not finite: lower learning_rate or max_grad_norm; the"
                " last good checkpoint is kept"
            )
        values = [sums.get(name, math.nan) for name in LOGGED]
        epoch = self.epochs * step / len(self.plan)
        row = Step(step, epoch, sums["loss"], logs["learning_rate"], *values)
        self.log_file.add(row)
        named = {name: value for name, value in zip(LOGGED, values, strict=True) if value == value}
        transformers.Trainer.log(self, logs | {"loss": row.loss} | named)
        rate = self.tokens / (time.monotonic() - self.started)
        self.progress(step, len(self.plan), f"loss {row.loss:.3g}, {rate:.0f} tok/s")

    def _precompute_ref_logps(self, dataset: Any, *_: Any) -> Any:
        return dataset  # the examples have them


class DpoSteps(Steps):
    """DPO: a micro batch weighs as much as it has pairs."""

    def weight(self, example: Example) -> int:
        """A pair weighs as much as any other."""
        return 1

    def batch_of(self: Any, taken: list[Example], rows: list[Example]) -> Any:
        """TRL's batch; the SFT term's weight is such that all tokens of the step count alike."""
        if len(self.loss_types) > 1:
            tokens = sum(len(row.chosen_ids) for row in taken) / len(taken)
            mean = sum(len(row.chosen_ids) for row in rows) / len(rows)
            self.loss_weights = [1.0, self.sft_weight * tokens / mean]
        return self.collate([row_of(row) for row in taken])


class SftSteps(Steps):
    """SFT: a micro batch weighs as much as it has response tokens."""

    def weight(self, example: Example) -> int:
        """The response's tokens."""
        return len(example.chosen_ids)

    def batch_of(self: Any, taken: list[Example], rows: list[Example]) -> Any:
        """TRL's batch, the loss on the response alone."""
        return self.collate(
            [
                {
                    "input_ids": row.prompt_ids + row.chosen_ids,
                    "labels": [-100] * len(row.prompt_ids) + row.chosen_ids,
                }
                for row in taken
            ]
        )

    def _sum_up(self: Any, rows: Sequence[Example]) -> None:
        """Also note the responses' mean log-probability."""
        super()._sum_up(rows)
        total = sum(map(self.weight, rows))
        self.sums["logps/chosen"] = -self.sums["loss"] * total / len(rows)
