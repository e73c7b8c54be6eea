"""Looks at the policy during training: on held-out pairs and, by greedy answers, on held-out prompts."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

from transformers import TrainerCallback

from croco.completions import completion
from croco.languages import load_identifier
from croco.spoken import hear
from croco.tokens import end_ids
from croco.training import Example
from croco.training.alerts import of_look, of_steps
from croco.training.heads import log_probs
from croco.training.log import Alert, Log, Look
from croco.training_settings import TrainConfig, Watch
from croco.words import repetition

log = logging.getLogger("croco")


class Watcher(TrainerCallback):
    """Looks before the first step, every `watch.every` steps and after the last; alerts go to the log.

    Every process looks at the same, so that none waits for another.
    """

    def __init__(self, trainer: Any, config: TrainConfig, heldout: Sequence[Example]) -> None:
        self.trainer, self.config = trainer, config
        watch = self.watch = config.watch
        self.pairs = list(heldout[: watch.pairs]) if watch else []
        self.prompts = _prompts(heldout, watch.prompts) if watch else []
        self.identifier = load_identifier(watch.identifier) if watch and self.prompts else None

    @property
    def log(self) -> Log:
        """The training's."""
        found: Log = self.trainer.log_file
        return found

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The look that later ones are compared with."""
        if self.watch and not self.log.looks:
            self._look(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After every step, since every step is logged."""
        step = state.global_step
        alerts = of_steps(self.log.steps, self.config.method)
        due = self.watch and (step % self.watch.every == 0 or step == state.max_steps)
        if due and self.log.looks[-1].step < step:
            alerts += self._look(step)
        for alert in alerts:
            self._warn(step, alert)
        if alerts and self.watch and self.watch.stop:
            control.should_training_stop = True

    def _warn(self, step: int, alert: str) -> None:
        self.log.add(Alert(step, alert))
        if self.trainer.accelerator.is_main_process:
            log.warning("training, step %d: %s", step, alert)

    def _look(self, step: int) -> list[str]:
        """One look; what it alerts to."""
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        training = model.training
        model.eval()
        look = Look(step, *self._pairs(model), *self._answers(model))
        model.train(training)
        first = next(iter(self.log.looks), look)
        self.log.add(look)
        return of_look(first, look)

    def _pairs(self, model: Any) -> tuple[float, float, float, float]:
        """Means over held-out pairs: log-probability of chosen and rejected, margin, accuracy."""
        rows: list[tuple[float, float, float]] = []
        size = self.trainer.micro_batch
        for start in range(0, len(self.pairs), size):
            part = self.pairs[start : start + size]
            with self.trainer.accelerator.autocast():
                sides = log_probs(model, self.trainer.collate_pairs, part)
            for own, chosen, rejected in zip(part, *(s.tolist() for s in sides), strict=True):
                reference = own.reference or (math.nan, math.nan)
                gain = (chosen - reference[0]) - (rejected - reference[1])
                rows.append((chosen, rejected, self.config.beta * gain))
        chosen, rejected, margin = (_mean([row[k] for row in rows]) for k in range(3))
        if self.config.method == "sft":
            return chosen, math.nan, math.nan, math.nan
        return chosen, rejected, margin, _mean([float(row[2] > 0) for row in rows])

    def _answers(self, model: Any) -> tuple[float, float, float, int]:
        """Means over answers to held-out prompts: tokens, repetition, share in the prompt's language of
        those whose language can be told; and how many others there are."""
        if not self.watch or not self.identifier:
            return math.nan, math.nan, math.nan, 0
        tokenizer = self.trainer.processing_class
        ends = end_ids(tokenizer, model.generation_config.eos_token_id, "the policy")
        ids = [_answer(model, one, self.watch, ends) for one in self.prompts]
        read = [
            completion(tokenizer, one.prompt_ids, own, "stop", ends)
            for one, own in zip(self.prompts, ids, strict=True)
        ]
        texts = [one.text for one in read]
        found = [
            one.right for one in hear(texts, [own.lang for own in self.prompts], self.identifier)
        ]
        right = [float(one) for one in found if one is not None]
        length = _mean([float(len(one.token_ids) - one.reasoning_tokens) for one in read])
        repeated = _mean([repetition(text) for text in texts])
        return length, repeated, _mean(right), found.count(None)


def _answer(model: Any, example: Example, watch: Watch, ends: list[int]) -> list[int]:
    """A greedy answer's ids; one prompt at a time, so that there is no padding to take care of."""
    import torch

    ids = torch.tensor([example.prompt_ids], device=model.device)
    with torch.no_grad():
        made = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=watch.max_tokens,
            eos_token_id=ends,
            pad_token_id=ends[0],
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            use_cache=True,
        )
    found: list[int] = made[0, len(example.prompt_ids) :].tolist()
    return found


def _prompts(examples: Sequence[Example], most: int) -> list[Example]:
    """Different prompts, the languages in turn."""
    seen: dict[str, dict[str, Example]] = {}
    for one in examples:
        seen.setdefault(one.lang, {}).setdefault(one.id, one)
    rows = [list(own.values()) for own in seen.values()]
    longest = max(map(len, rows), default=0)
    return [own[k] for k in range(longest) for own in rows if k < len(own)][:most]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
