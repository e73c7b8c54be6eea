"""Trains a reward model: a sequence classifier on preferences, with the Bradley-Terry loss.

A short loop of our own and not TRL's RewardTrainer, which reads one sequence per answer: an encoder
reads prompt and answer as a text pair, and its word embeddings must stay as they are.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from croco import models
from croco.errors import EngineError
from croco.recipe import Resources, RewardTraining
from croco.records import Preference, Step
from croco.rewards.classifier import encode, forward, load, longest

Row = dict[str, list[int]]
WARMUP_SHARE = 0.1


def train_reward(
    config: RewardTraining,
    preferences: list[Preference],
    out: Path,
    resources: Resources,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Step]:
    """Train `config.base` on preferences and save model and tokenizer to `out`; one Step per update.

    The word embeddings are frozen: preferences of one language would move only that language's
    words. `progress` gets the number of updates done and their total.
    """
    import torch

    torch.manual_seed(config.seed)
    model, tokenizer = load(models.fetch(models.resolve(config.base, Path("."))), resources)
    limit = min(config.max_length, longest(model))
    pairs = [
        (encode(tokenizer, p.prompt, p.chosen, limit), encode(tokenizer, p.prompt, p.rejected, limit))
        for p in preferences
    ]
    batches = _batches(pairs, config)
    optimizer = torch.optim.AdamW(_trained(model, config.layers), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _linear(len(batches)))
    model.train()
    steps = []
    for number, batch in enumerate(batches, start=1):
        rate = schedule.get_last_lr()[0]
        margins = _margins(model, tokenizer, batch, optimizer, resources.micro_batch)
        schedule.step()
        steps.append(_step(number, number / len(batches) * config.epochs, rate, margins))
        progress(number, len(batches))
    model.eval().save_pretrained(out)
    tokenizer.save_pretrained(out)
    return steps


def _trained(model: Any, layers: int | None) -> list[Any]:
    """The parameters to train: all but the embeddings, of the top `layers` layers where given."""
    body = model.base_model
    blocks = getattr(body, "layers", None) or body.encoder.layer
    frozen = [body.get_input_embeddings(), getattr(body, "embeddings", None)]
    frozen += list(blocks[: len(blocks) - layers]) if layers is not None else []
    for module in frozen:
        if module is not None:
            module.requires_grad_(False)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _batches(pairs: list[tuple[Row, Row]], config: RewardTraining) -> list[list[tuple[Row, Row]]]:
    """The batches of all epochs, each epoch in an order of its own."""
    order = random.Random(config.seed)  # noqa: S311 - a shuffle, not a secret
    wanted = round(len(pairs) * config.epochs)
    rows: list[tuple[Row, Row]] = []
    while len(rows) < wanted:
        rows += order.sample(pairs, len(pairs))
    rows = rows[:wanted]
    return [rows[i : i + config.batch_size] for i in range(0, len(rows), config.batch_size)]


def _linear(total: int) -> Callable[[int], float]:
    """A learning rate that rises over the first tenth of the updates, then falls to zero."""
    warmup = max(1, round(total * WARMUP_SHARE))
    return lambda step: min((step + 1) / warmup, (total - step) / max(1, total - warmup + 1), 1.0)


def _margins(
    model: Any, tokenizer: Any, batch: list[tuple[Row, Row]], optimizer: Any, micro_batch: int
) -> list[float]:
    """One update on a batch, in parts of `micro_batch` pairs; the pairs' reward margins before it."""
    import torch

    margins: list[float] = []
    for start in range(0, len(batch), micro_batch):
        part = batch[start : start + micro_batch]
        logits = forward(model, tokenizer, [row for side in zip(*part, strict=True) for row in side])
        margin = logits[: len(part)] - logits[len(part) :]
        loss = -torch.nn.functional.logsigmoid(margin).sum() / len(batch)
        loss.backward()
        margins += margin.detach().float().tolist()
    if not all(map(math.isfinite, margins)):
        raise EngineError("reward training diverged (a reward is not finite): lower learning_rate")
    torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return margins


def _step(number: int, epoch: float, rate: float, margins: list[float]) -> Step:
    count = len(margins)
    return Step(
        step=number,
        epoch=epoch,
        loss=sum(math.log1p(math.exp(-abs(m))) + max(-m, 0.0) for m in margins) / count,
        learning_rate=rate,
        chosen_logp=math.nan,
        rejected_logp=math.nan,
        margin=sum(margins) / count,
        accuracy=sum(m > 0 for m in margins) / count,
    )
