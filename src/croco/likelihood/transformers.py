"""Likelihoods by transformers: one forward pass over several texts, padded behind their ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer

from croco.engines.transformers import load_model, pick_device
from croco.errors import EngineError
from croco.likelihood import Surprise
from croco.memory import Halving
from croco.models import ModelRef, fetch
from croco.rewards.classifier import longest
from croco.rewards.passes import PADDING, SLACK, batches, can_pad
from croco.settings import Dtype, Resources
from croco.tokens import check_vocabulary, document_ids


class TransformersLikelihood:
    """A causal language model on one device, with an optional PEFT adapter."""

    def __init__(
        self, policy: ModelRef, dtype: Dtype, resources: Resources, adapter: Path | None
    ) -> None:
        if resources.threads:
            torch.set_num_threads(resources.threads)
        self._device = pick_device(resources.device)
        folder = fetch(policy)
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = load_model(folder, dtype, adapter).to(self._device).eval()
        size = self._model.config.get_text_config().vocab_size
        check_vocabulary(self._tokenizer, size, f"model {policy.name}")
        self._longest = longest(self._model)
        self._budget = resources.batch_tokens
        slack = SLACK.get(self._device, SLACK["cuda"])
        self._padding = (PADDING, slack) if can_pad(self._model) else (0.0, 0)
        self._halving = Halving("lower resources.loss.batch_tokens")

    def measure(self, texts: Sequence[str]) -> list[Surprise]:
        """Texts of like length together, at most `batch_tokens` tokens at a time.

        EngineError where a text has nothing to predict, or more tokens than the model has positions.
        """
        rows = [self._encode(text) for text in texts]
        lengths = {k: len(row) for k, row in enumerate(rows)}
        found: dict[int, float] = {}
        for places in batches(lengths, 0, self._budget, self._padding):
            nats = self._halving(self._nats, [rows[k] for k in places])
            found |= zip(places, nats, strict=True)
        return [
            Surprise(found[k], len(row) - 1, len(texts[k].encode())) for k, row in enumerate(rows)
        ]

    def _encode(self, text: str) -> list[int]:
        ids = document_ids(self._tokenizer, text)
        if len(ids) < 2:
            raise EngineError("it is empty to the model: leave it out")
        if len(ids) > self._longest:
            raise EngineError(f"it has {len(ids)} tokens and the model reads {self._longest}")
        return ids

    @torch.inference_mode()
    def _nats(self, rows: Sequence[list[int]]) -> list[float]:
        """The negative log-likelihood of each row's ids after its first one."""
        width = max(map(len, rows))
        # What stands behind a row's end is seen by none of its tokens: any id will do.
        ids = torch.tensor([row + [row[0]] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        inputs = {name: tensor.to(self._device) for name, tensor in inputs.items()}
        logits = self._model(**inputs, use_cache=False).logits
        # Row by row: a copy of all logits in float32 would be the largest tensor of the pass.
        return [
            float(_losses(logits[k], inputs["input_ids"][k], len(row)).double().sum())
            for k, row in enumerate(rows)
        ]


def _losses(logits: torch.Tensor, ids: torch.Tensor, length: int) -> torch.Tensor:
    """The losses (length - 1,) of ids (width,) by the logits (width, vocabulary) before them."""
    return cross_entropy(logits[: length - 1].float(), ids[1:length], reduction="none")
