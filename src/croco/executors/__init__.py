"""Executors do tasks somewhere; what is done, and what is owed, is told by the disk alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from croco.runner import Task, raise_if_owed, tasks
from croco.runs import Run
from croco.stage import Stage


class Executor(Protocol):
    """Does tasks; raises where a worker stopped with an error."""

    def run(self, todo: Sequence[Task]) -> None:
        """Return when every task was tried; what is still owed is seen on disk."""
        ...


def run_stages(run: Run, stages: Mapping[str, Stage], executor: Executor) -> int:
    """Bring all stages to done, in order; the number of stages that had work to do.

    Raises OwedError where rows failed and stay owed.
    """
    worked = 0
    for stage in stages.values():
        todo = tasks(run, stage)
        if todo:
            worked += 1
            executor.run(todo)
            raise_if_owed(stage, run.store.artifact(stage))
    return worked
