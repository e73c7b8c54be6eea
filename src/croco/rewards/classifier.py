"""A sequence classifier with one output as reward: its raw logit, read by transformers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from croco import models
from croco.errors import EngineError
from croco.quiet import quiet
from croco.records import Candidate
from croco.reward_settings import RewardConfig
from croco.rewards import Scores
from croco.settings import Resources
from croco.tokens import conversation_ids


class Classifier:
    """Scores with `AutoModelForSequenceClassification`, from `trained` or else from `config.model`."""

    def __init__(self, config: RewardConfig, resources: Resources, trained: Path | None) -> None:
        folder = trained or models.fetch(config.ref)
        self.model, self.tokenizer = load(folder, resources)
        self.limit = min(config.max_length, longest(self.model))
        self.batch_size = resources.batch_size

    def score(self, candidates: Sequence[Candidate]) -> Scores:
        """The logit of each answer; EngineError where one is too long or the logit is not finite."""
        rows = [encode(self.tokenizer, c, self.limit) for c in candidates]
        # Answers of about one length go through together, so that little is spent on padding.
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
        rewards = [math.nan] * len(rows)
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            for i, reward in zip(batch, self._logits([rows[i] for i in batch]), strict=True):
                rewards[i] = reward
        bad = [i for i, reward in enumerate(rewards) if not math.isfinite(reward)]
        if bad:
            raise EngineError(
                f"the reward of answer {bad[0]} is {rewards[bad[0]]}: check the model"
            )
        return Scores(rewards)

    def _logits(self, rows: list[dict[str, list[int]]]) -> list[float]:
        import torch

        with torch.inference_mode():
            logits: list[float] = forward(self.model, self.tokenizer, rows).float().tolist()
        return logits


def load(folder: Path, resources: Resources, depth: int | None = None) -> tuple[Any, Any]:
    """The classifier and its tokenizer, in evaluation mode; float32 on a CPU, else as stored.

    `depth` keeps only the first layers of the model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    device = resources.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if resources.threads:
        torch.set_num_threads(resources.threads)
    config = AutoConfig.from_pretrained(folder, num_labels=1)
    if depth is not None:
        config.num_hidden_layers = min(depth, config.num_hidden_layers)
    with quiet():
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            folder, config=config, dtype=torch.float32 if device == "cpu" else "auto"
        )
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    return model.to(device).eval(), tokenizer


def longest(model: Any) -> int:
    """The most tokens that the model has positions for."""
    return int(getattr(model.config, "max_position_embeddings", None) or 10**9)


def encode(tokenizer: Any, candidate: Candidate, limit: int) -> dict[str, list[int]]:
    """Token ids (and types) of a prompt and its answer: a chat where there is a template, or a pair.

    Raises EngineError where they are longer than `limit`; nothing is cut.
    """
    if tokenizer.chat_template:
        row = {"input_ids": conversation_ids(tokenizer, candidate.chat, candidate.response)}
    else:
        before = "\n\n".join(turn["content"] for turn in candidate.chat)
        row = dict(tokenizer(before, candidate.response))
        row.pop("attention_mask", None)
    if len(row["input_ids"]) > limit:
        raise EngineError(
            f"an answer with its prompt has {len(row['input_ids'])} tokens, more than the reward"
            f" model's limit of {limit}: raise max_length or take a model that reads more"
        )
    return row


def forward(model: Any, tokenizer: Any, rows: list[dict[str, list[int]]]) -> Any:
    """The logits of encoded rows, padded to the longest: a tensor of shape (rows,)."""
    batch = tokenizer.pad(rows, padding=True, padding_side="right", return_tensors="pt")
    return model(**batch.to(model.device)).logits.squeeze(-1)
