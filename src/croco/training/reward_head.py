"""Trains the head of a reward model whose encoder is frozen: a short loop of our own.

TRL's RewardTrainer runs the whole model in every epoch; here what is frozen is run once per answer, and
the head alone in every epoch.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

from croco.records import Step
from croco.reward_settings import RewardTraining
from croco.settings import Resources
from croco.stage import Progress
from croco.training.moved import refuse_unmoved, trainable
from croco.training.pooling import head, run_once
from croco.training.reward_pairs import Pair, check_finite

WARMUP_SHARE = 0.1


def train(
    config: RewardTraining,
    pairs: list[Pair],
    model: Any,
    tokenizer: Any,
    resources: Resources,
    progress: Progress,
) -> list[Step]:
    """Train the head of a frozen BERT and give it one layer more, the mean; one Step per update.

    Raises EngineError where no weight is another than before.
    """
    _without_dropout(model)
    rows = [row for pair in pairs for row in (pair.chosen, pair.rejected)]
    outputs = run_once(model, tokenizer, rows, resources.batch_size)
    batches = _batches(len(pairs), config)
    steps: list[Step] = []
    begun = trainable(model)
    for step in _train(model, pairs, outputs, batches, config, resources.micro_batch):
        steps.append(step)
        progress(len(steps), len(batches), f"loss {step.loss:.3g}")
    refuse_unmoved(begun, trainable(model), len(steps))
    return steps


def _without_dropout(model: Any) -> None:
    """Its draws would depend on how a batch is cut into parts, which is a matter of memory alone."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def _train(
    model: Any,
    pairs: list[Pair],
    outputs: list[Any],
    batches: list[list[int]],
    config: RewardTraining,
    micro_batch: int,
) -> Iterator[Step]:
    """Updates the parameters that are not frozen, batch by batch of places in `pairs`."""
    import torch

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _linear(len(batches)))
    model.train()
    for number, batch in enumerate(batches, start=1):
        rate = float(schedule.get_last_lr()[0])
        margins: list[float] = []
        for start in range(0, len(batch), micro_batch):
            part = batch[start : start + micro_batch]
            margin = _margins(model, outputs, part)
            loss: Any = -torch.nn.functional.logsigmoid(margin).sum() / len(batch)
            loss.backward()
            margins += margin.detach().float().tolist()
        check_finite(margins, [pairs[k] for k in batch], number)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        yield _step(number, number / len(batches) * config.epochs, rate, margins)


def _margins(model: Any, outputs: list[Any], part: list[int]) -> Any:
    """The rewards' differences, (pairs,), of the pairs at some places."""
    rewards = head(model, [outputs[2 * k] for k in part] + [outputs[2 * k + 1] for k in part])
    return rewards[: len(part)] - rewards[len(part) :]


def _batches(count: int, config: RewardTraining) -> list[list[int]]:
    """The places of all epochs' batches, each epoch in an order of its own."""
    order = random.Random(config.seed)  # noqa: S311 - a shuffle, not a secret
    wanted = round(count * config.epochs)
    places: list[int] = []
    while len(places) < wanted:
        places += order.sample(range(count), count)
    places = places[:wanted]
    return [places[i : i + config.batch_size] for i in range(0, wanted, config.batch_size)]


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
