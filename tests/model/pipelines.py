"""Runs of a few stages on tiny models, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from croco import pipeline, plan, recipe_file
from croco.executor_settings import ExecutorSettings
from croco.executors.local import LocalExecutor
from croco.models import ModelRef
from croco.runs import Run
from croco.stage import Stage
from croco.store import Artifact

PROMPTS = ("hello there", "bread and rain", "the cat sat", "w1 w2 w3", "yes", "w9 no", "w4", "hi")


class Made:
    """A run whose stages up to one are done."""

    def __init__(self, home: Path, policy: ModelRef, arms: dict[str, Any], **changes: Any) -> None:
        home.mkdir(parents=True, exist_ok=True)
        for name, before in (("train", ""), ("heldout", "w39 ")):
            rows = [
                {"id": f"{name}-{k}", "lang": "en", "prompt": before + text}
                for k, text in enumerate(PROMPTS)
            ]
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (home / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        values: dict[str, Any] = {
            "name": "tiny",
            "languages": ["en"],
            "policy": policy.location,
            "prompts": {"train": ["train.jsonl"], "heldout": ["heldout.jsonl"]},
            "sample": {"n": 6, "max_tokens": 8, "dtype": "float32"},
            "reward": {"kind": "fake"},
            "arms": arms,
            "evaluate": {"n": 2, "judge": {"kind": "language", "identifier": "fake"}},
        }
        recipe = recipe_file.parse(values | changes, home / "recipe.yaml")
        self.run = Run(home, recipe)
        self.run.save()
        self.stages = pipeline.build(recipe)

    def until(self, *last: str) -> Made:
        """Bring some stages to done, with all that they need."""
        for name in last:
            wanted: dict[str, Stage] = plan.until(self.stages, name)
            LocalExecutor(ExecutorSettings(), lambda *_: None).run(self.run, wanted)
        return self

    def artifact(self, name: str) -> Artifact:
        """What a stage made."""
        return self.run.store.artifact(self.stages[name])

    def rows(self, name: str) -> dict[Any, Any]:
        """The rows of a stage by key."""
        return {row.key: row for row in self.artifact(name).rows()}


#: Training that a tiny model learns something from.
TRAIN = {
    "learning_rate": 1e-2,
    "batch_size": 4,
    "dtype": "float32",
    "warmup_share": 0,
    "lora": {"dropout": 0, "r": 4},
}
