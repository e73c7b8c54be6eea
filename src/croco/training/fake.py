"""A trainer without a model: an adapter that is only a strength, and a curve drawn from hashes."""

from __future__ import annotations

import hashlib
import json
import math

from croco.engines.fake import strength_of
from croco.errors import EngineError
from croco.records import Step
from croco.training import Job, Place
from croco.training_settings import TrainConfig

STEPS = 8


def train(job: Job, place: Place) -> list[Step]:
    """Write an adapter whose strength, in (0, 1], grows with the number of examples, from that of `start`.

    The curve depends on the examples and the seed alone. Raises EngineError without examples.
    """
    config, examples, out = job.config, job.examples, place.out
    if not examples:
        raise EngineError("there are no examples to train on: see why pairing gave none")
    strength = len(examples) / (len(examples) + 4)
    out.mkdir(parents=True, exist_ok=True)
    begun = strength_of(job.start)
    adapter = {"croco_fake": True, "strength": begun + (1 - begun) * strength}
    (out / "adapter_config.json").write_text(json.dumps(adapter) + "\n", encoding="utf-8")
    ids = [[e.prompt_ids, e.chosen_ids, e.rejected_ids] for e in examples]
    digest = hashlib.sha256(json.dumps([job.seed, config.method, ids]).encode()).digest()
    curve = []
    for step in range(1, STEPS + 1):
        curve.append(_step(config, step, strength, digest[step] / 255))
        place.progress(step, STEPS, f"loss {curve[-1].loss:.3g}")
    return curve


def _step(config: TrainConfig, step: int, strength: float, noise: float) -> Step:
    """A step of a curve that falls from ln 2 (SFT: from 2 nats a token); `noise` is in [0, 1]."""
    done = (step - 1) / STEPS
    rate = config.rate * (1 + math.cos(math.pi * done)) / 2
    epoch = config.epochs * step / STEPS
    gain = strength * done * (0.8 + 0.4 * noise)
    if config.method == "sft":
        return Step(step, epoch, 2.0 - gain, rate, 20 * (gain - 2.0), math.nan, math.nan, math.nan)
    margin = 2 * gain
    loss = math.log1p(math.exp(-margin))
    accuracy = 0.5 + gain / 3
    rejected = -60.0 - margin / config.beta / 2
    return Step(
        step, epoch, loss, rate, rejected + margin / config.beta, rejected, margin, accuracy
    )
