"""Checkpoints: only a whole one is ever gone on from.

Transformers writes a checkpoint file by file into its place. The mark that we add last tells that it is
whole; the log must be whole up to it as well.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from croco.training.log import read

MARK = "whole"
FOLDER = "checkpoints"
PREFIX = "checkpoint-"


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was made."""
    return int(checkpoint.name.removeprefix(PREFIX))


def mark(checkpoint: Path) -> None:
    """Say that a checkpoint is whole."""
    (checkpoint / MARK).touch()


def keep_only(work: Path, checkpoint: Path | None) -> None:
    """Remove all others: a later one that is not whole would outlive the new ones."""
    for path in (work / FOLDER).glob(f"{PREFIX}*"):
        if path != checkpoint:
            shutil.rmtree(path)


def newest(work: Path, log: Path) -> Path | None:
    """The last whole checkpoint up to which the log is whole."""
    logged = {line["step"] for line in read(log) if line["kind"] == "step"}
    found = (path.parent for path in (work / FOLDER).glob(f"{PREFIX}*/{MARK}"))
    whole = [path for path in found if logged.issuperset(range(1, step_of(path) + 1))]
    return max(whole, key=step_of, default=None)


class Marked:
    """What is laid over any TRL trainer: whole checkpoints are marked, ids are taken as they are, and
    nothing calls home."""

    def _save_checkpoint(self: Any, model: Any, trial: Any) -> None:
        """As transformers does (TRL adds a model card), and marked when it is whole."""
        import transformers

        transformers.Trainer._save_checkpoint(self, model, trial)
        if self.accelerator.is_main_process:
            mark(Path(self.args.output_dir) / f"{PREFIX}{self.state.global_step}")

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def _send_telemetry(self) -> None:
        pass
