"""Trains a reward model: a sequence classifier on preferences, with the Bradley-Terry loss.

A short loop of our own and not TRL's RewardTrainer, which reads one sequence per answer: an encoder
reads prompt and answer as a text pair, and what is frozen here is run only once.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from croco import models
from croco.errors import EngineError, RecipeError
from croco.quiet import quiet
from croco.records import Candidate, Preference, Step
from croco.reward_settings import RewardTraining
from croco.rewards.classifier import load, longest
from croco.rewards.encoding import encode
from croco.rewards.passes import forward
from croco.settings import Resources
from croco.stage import Progress
from croco.training.pooling import head, run_once

#: An answer as the trained part reads it: token ids, or the frozen part's output for them.
Answer = Any
Pair = tuple[Answer, Answer]
Score = Callable[[list[Answer]], Any]
WARMUP_SHARE = 0.1


def train_reward(
    config: RewardTraining,
    preferences: list[Preference],
    out: Path,
    resources: Resources,
    progress: Progress,
) -> list[Step]:
    """Train `config.base` on preferences and save model and tokenizer to `out`; one Step per update.

    The word embeddings stay as they are: preferences in one language would move only its words.
    `progress` is told after each update.
    """
    import torch

    torch.manual_seed(config.seed)
    folder = models.fetch(config.ref)
    model, tokenizer = load(folder, resources, config.depth)
    _without_dropout(model)
    limit = min(config.max_length, longest(model))
    pairs: list[Pair] = [
        (
            encode(tokenizer, Candidate(p.lang, p.prompt, p.chosen, p.before), limit),
            encode(tokenizer, Candidate(p.lang, p.prompt, p.rejected, p.before), limit),
        )
        for p in _kept(preferences, config.without)
    ]
    score: Score = partial(forward, model)
    if config.layers == 0:
        flat = [answer for pair in pairs for answer in pair]
        outputs = run_once(model, tokenizer, flat, resources.batch_size)
        pairs = list(zip(outputs[::2], outputs[1::2], strict=True))
        score = partial(head, model)
    batches = _batches(pairs, config)
    steps: list[Step] = []
    for step in _train(score, model, batches, config, resources.micro_batch):
        steps.append(step)
        progress(len(steps), len(batches), f"loss {step.loss:.3g}")
    with quiet():
        model.eval().save_pretrained(out)
        tokenizer.save_pretrained(out)
    return steps


def _without_dropout(model: Any) -> None:
    """Its draws would depend on how a batch is cut into parts, which is a matter of memory alone."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def _kept(preferences: list[Preference], without: list[str]) -> list[Preference]:
    """The preferences but for the flaws left out; RecipeError where no preference has such a flaw."""
    unknown = sorted(set(without) - {p.flaw for p in preferences})
    if unknown:
        raise RecipeError(
            f"reward training: no preference has the flaw {unknown[0]!r} of `without`"
        )
    return [p for p in preferences if p.flaw not in without]


def _train(
    score: Score, model: Any, batches: list[list[Pair]], config: RewardTraining, micro_batch: int
) -> Iterator[Step]:
    """Updates the unfrozen parameters batch by batch."""
    import torch

    optimizer = torch.optim.AdamW(_unfrozen(model, config.layers), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _linear(len(batches)))
    model.train()
    for number, batch in enumerate(batches, start=1):
        rate = float(schedule.get_last_lr()[0])
        margins = _update(score, batch, optimizer, micro_batch)
        schedule.step()
        yield _step(number, number / len(batches) * config.epochs, rate, margins)


def _update(score: Score, batch: list[Pair], optimizer: Any, micro_batch: int) -> list[float]:
    """One update on a batch, in parts of `micro_batch` pairs; the pairs' margins before it."""
    import torch

    margins: list[float] = []
    for start in range(0, len(batch), micro_batch):
        part = batch[start : start + micro_batch]
        rewards = score([chosen for chosen, _ in part] + [rejected for _, rejected in part])
        margin = rewards[: len(part)] - rewards[len(part) :]
        loss: Any = -torch.nn.functional.logsigmoid(margin).sum() / len(batch)
        loss.backward()
        margins += margin.detach().float().tolist()
    if not all(map(math.isfinite, margins)):
        raise EngineError("reward training diverged (a reward is not finite): lower learning_rate")
    torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return margins


def _unfrozen(model: Any, layers: int | None) -> list[Any]:
    """The parameters to train: the head and the top `layers` layers, or all but the embeddings."""
    body = model.base_model
    blocks = _layers(model)
    frozen = [body.get_input_embeddings(), getattr(body, "embeddings", None)]
    frozen += blocks[: len(blocks) - layers] if layers is not None else []
    for module in frozen:
        if module is not None:
            module.requires_grad_(False)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _layers(model: Any) -> Any:
    body = model.base_model
    return body.layers if hasattr(body, "layers") else body.encoder.layer


def _batches(pairs: list[Pair], config: RewardTraining) -> list[list[Pair]]:
    """The batches of all epochs, each epoch in an order of its own."""
    order = random.Random(config.seed)  # noqa: S311 - a shuffle, not a secret
    wanted = round(len(pairs) * config.epochs)
    rows: list[Pair] = []
    while pairs and len(rows) < wanted:
        rows += order.sample(pairs, len(pairs))
    rows = rows[:wanted]
    return [rows[i : i + config.batch_size] for i in range(0, len(rows), config.batch_size)]


def _linear(total: int) -> Callable[[int], float]:
    """A learning rate that rises over the first tenth of the updates, then falls to zero."""
    warmup = max(1, round(total * WARMUP_SHARE))
    return lambda step: min((step + 1) / warmup, (total - step) / max(1, total - warmup + 1), 1.0)


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
