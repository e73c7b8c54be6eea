"""Trains a reward model: a sequence classifier on preferences, with the Bradley-Terry loss.

TRL trains it, in full, by LoRA or in its top layers (`reward_trl`). Only a head on a frozen encoder
(`layers: 0`) has a loop of our own (`reward_head`), which TRL has none for.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from croco import models
from croco.errors import EngineError
from croco.plugins import require
from croco.quiet import quiet
from croco.records import Preference, Step
from croco.reward_settings import RewardTraining
from croco.rewards.classifier import load, longest
from croco.seen import write_prompts
from croco.settings import Resources
from croco.stage import Progress
from croco.training import reward_head, reward_trl
from croco.training.reward_pairs import encoded, wanted
from croco.training.schedule import few, steps_of

log = logging.getLogger("croco")


def train_reward(
    config: RewardTraining,
    preferences: Sequence[Preference],
    out: Path,
    resources: Resources,
    progress: Progress,
    work: Path | None = None,
) -> list[Step]:
    """Train `config.base` on preferences and save model and tokenizer to `out`; one Step per update.

    The word embeddings stay as they are: preferences in one language would move only its words. What is
    left out is told, and counted in `out/training/pairs.json`; `prompts.jsonl` beside it has the prompts.
    `progress` is told after each update. Where there is a folder `work`, checkpoints are kept there and
    gone on from. Raises RecipeError and EngineError where there is nothing to train on or no weight
    changed, and EngineError with the pairs at fault where a reward is not finite.
    """
    require(__name__ if config.layers == 0 else reward_trl.__name__, "training a reward model")
    import torch

    kept = wanted(config, preferences)
    torch.manual_seed(config.seed)
    folder = models.fetch(config.ref)
    frozen_type = config.dtype if config.lora else "float32"
    model, tokenizer = load(folder, resources, config.depth, frozen_type, new_head=True)
    pairs, left_out = encoded(tokenizer, kept, min(config.max_length, longest(model)))
    for why, count in left_out.items():
        log.warning("%d of %d preferences are left out: %s", count, len(kept), why)
    if remark := few(steps_of(len(pairs), config.batch_size, config.epochs)):
        log.warning("reward training: %s", remark)
    _freeze(model, config.layers)
    if config.layers == 0:
        steps = reward_head.train(config, pairs, model, tokenizer, resources, progress)
    else:
        model, steps = reward_trl.train(config, pairs, model, tokenizer, resources, progress, work)
    _check(model)
    with quiet():
        model.eval().save_pretrained(out)
        tokenizer.save_pretrained(out)
    counts = {"given": len(preferences), "trained": len(pairs), "left_out": dict(left_out)}
    write_prompts(out, kept, folder)
    (out / "training" / "pairs.json").write_text(json.dumps(counts, indent=1) + "\n", "utf-8")
    return steps


def _freeze(model: Any, layers: int | None) -> None:
    """Leave the head and the top `layers` layers to train, or all but the embeddings."""
    body = model.base_model
    blocks = _layers(body) if layers is not None else []
    frozen = [body.get_input_embeddings(), getattr(body, "embeddings", None)]
    frozen += blocks[: len(blocks) - (layers or 0)]
    for module in frozen:
        if module is not None:
            module.requires_grad_(False)


def _layers(body: Any) -> Any:
    """The blocks of a decoder, or of an encoder of BERT's family."""
    for path in ("layers", "encoder.layer", "h", "encoder.layers"):
        found = body
        for name in path.split("."):
            found = getattr(found, name, None)
        if found is not None:
            return found
    raise EngineError(
        f"reward training: the layers of a {body.config.model_type} are not known by name: leave"
        " `layers` out, or train by lora"
    )


def _check(model: Any) -> None:
    """EngineError where the last update left weights that are not finite."""
    import torch

    if not all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters()):
        raise EngineError(
            "reward training diverged at its last step (a weight is not finite): lower learning_rate"
        )
