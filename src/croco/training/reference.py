"""The reference model: what it gives the responses of pairs, once and before any training."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from croco import models
from croco.memory import Halving
from croco.models import ModelRef
from croco.quiet import quiet
from croco.settings import Resources
from croco.training import Example, policy
from croco.training.heads import add_head, collator, log_probs
from croco.training_settings import TrainConfig


class Reference:
    """The policy that training starts from, on one device: the base model, or a tuned one of it."""

    def __init__(
        self, config: TrainConfig, ref: ModelRef, start: Path | None, resources: Resources
    ) -> None:
        import torch
        import transformers

        if resources.threads:
            torch.set_num_threads(resources.threads)
        cpu = resources.device == "cpu" or not torch.cuda.is_available()
        device = "cpu" if cpu else "cuda"
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(models.fetch(ref))
            own = policy.precision(config)
            model = policy.frozen(ref, start, own, config.quantized, device)
        self._model = (model if config.quantized else model.to(device)).eval()
        add_head(model.get_base_model() if hasattr(model, "peft_config") else model)
        # As in training: whole models are float32 and read in the recipe's precision.
        dtype = getattr(torch, config.dtype)
        self._cast = partial(torch.autocast, device, dtype, enabled=own != config.dtype)
        self._collate = collator(tokenizer)
        self._size = resources.micro_batch
        self._halving = Halving("lower resources.reference.micro_batch")

    def log_probs(self, examples: Sequence[Example]) -> list[tuple[float, float]]:
        """The log-probabilities, in nats, of each example's chosen and rejected response."""
        order = sorted(range(len(examples)), key=lambda k: examples[k].tokens)
        found: dict[int, tuple[float, float]] = {}
        for start in range(0, len(order), self._size):
            places = order[start : start + self._size]
            pairs = self._halving(self._measured, [examples[k] for k in places])
            found |= zip(places, pairs, strict=True)
        return [found[k] for k in range(len(examples))]

    def _measured(self, examples: Sequence[Example]) -> list[tuple[float, float]]:
        with self._cast():
            chosen, rejected = log_probs(self._model, self._collate, examples)
        return list(zip(chosen.tolist(), rejected.tolist(), strict=True))
