"""Trains a reward model: a sequence classifier on preferences, with the Bradley-Terry loss.

A short loop of our own and not TRL's RewardTrainer, which reads one sequence per answer: an encoder
reads prompt and answer as a text pair, and what is frozen here need be run only once.
"""

from __future__ import annotations

import copy
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

#: An answer as the trained part reads it: token ids, or the frozen part's output for them.
Answer = Any
WARMUP_SHARE = 0.1
#: How much the mean outweighs what a residual connection adds to it.
MEAN_WEIGHT = 1000.0


def train_reward(
    config: RewardTraining,
    preferences: list[Preference],
    out: Path,
    resources: Resources,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Step]:
    """Train `config.base` on preferences and save model and tokenizer to `out`; one Step per update.

    The word embeddings stay as they are: preferences in one language would move only its words.
    `progress` gets the number of updates done and their total.
    """
    import torch

    torch.manual_seed(config.seed)
    folder = models.fetch(models.resolve(config.base, Path()))
    model, tokenizer = load(folder, resources, config.depth)
    limit = min(config.max_length, longest(model))
    sides = [[encode(tokenizer, p.prompt, r, limit) for r in (p.chosen, p.rejected)] for p in preferences]
    pairs, score = _frozen(model, tokenizer, sides) if config.layers == 0 else (
        sides, lambda answers: forward(model, tokenizer, answers)
    )
    batches = _batches(pairs, config)
    optimizer = torch.optim.AdamW(_trained(model, config.layers), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _linear(len(batches)))
    model.train()
    steps = []
    for number, batch in enumerate(batches, start=1):
        rate = float(schedule.get_last_lr()[0])
        margins = _update(score, batch, optimizer, resources.micro_batch)
        schedule.step()
        steps.append(_step(number, number / len(batches) * config.epochs, rate, margins))
        progress(number, len(batches))
    model.eval().save_pretrained(out)
    tokenizer.save_pretrained(out)
    return steps
