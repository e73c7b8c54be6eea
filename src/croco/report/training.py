"""Training in the report: steps, what was trained on, what was seen on held-out prompts, and alerts."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from croco.report.page import Section
from croco.report.parts import Part
from croco.rounds import named
from croco.stage import Sealed
from croco.training.log import DATA, NAME, Look, alerts, looks
from croco.training.schedule import few


def training(inputs: Mapping[str, Sealed], recipe: dict[str, Any]) -> Part:
    """The part "training": the optimizer steps of every arm, and more where its trainer kept a log."""
    stages = {
        label: inputs[f"{name}.train{suffix}"]
        for name, arm in recipe["arms"].items()
        for label, suffix in named(name, arm)
    }
    found = {label: _figures(own) for label, own in stages.items()}
    return Part("training", found, Section("training", "Training", "training.html.jinja", found))


def _figures(stage: Sealed) -> dict[str, Any]:
    steps = sum(1 for _ in stage.rows())
    counted = {"steps": steps, "few": few(steps)}
    log = stage.files / NAME
    if not log.exists():
        return counted
    data = json.loads((stage.files / DATA).read_text(encoding="utf-8"))
    reasons = Counter(reason for _, _, reason in data["dropped"])
    seen = looks(log)
    return counted | {
        "examples": data["examples"],
        "cut": data["cut"],
        "heldout": data["heldout"],
        "dropped": dict(reasons),
        "looks": [_known(look) for look in ([seen[0], seen[-1]] if len(seen) > 1 else seen)],
        "alerts": [{"step": step, "alert": said} for step, said in alerts(log)],
    }


def _known(look: Look) -> dict[str, Any]:
    """JSON has no NaN."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(look).items()
    }
