"""The executor that is the calling process itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from croco.runner import Notify, Task, work


@dataclass(frozen=True)
class LocalExecutor:
    """Does the tasks one after the other, here."""

    notify: Notify

    def run(self, todo: Sequence[Task]) -> None:
        """Do all tasks; an error ends the run and keeps what was done."""
        work(todo, self.notify)
