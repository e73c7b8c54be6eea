"""Executors bring a run's stages to their end somewhere; what is done, and owed, is told by disk alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from croco.executor_settings import ExecutorSettings
from croco.plugins import load_class
from croco.rowwork import Notify
from croco.runs import Run
from croco.stage import Stage

EXECUTORS = {
    "local": "croco.executors.local:LocalExecutor",
    "ray": "croco.executors.ray:RayExecutor",
    "slurm": "croco.executors.slurm:SlurmExecutor",
}


class Executor(Protocol):
    """Brings stages to done; built as `Executor(settings, notify)`."""

    def run(self, run: Run, stages: Mapping[str, Stage]) -> int:
        """Do what is owed of the stages, each after its inputs; the number that had work to do.

        Raises OwedError where rows failed and stay owed.
        """
        ...


def load(settings: ExecutorSettings, notify: Notify) -> Executor:
    """The executor that the settings name."""
    executor: Executor = load_class(settings.kind, EXECUTORS, "executor")(settings, notify)
    return executor
