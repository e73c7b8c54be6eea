"""How a run shows its progress: a bar on a terminal, plain lines in a log; always on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

#: Seconds between two lines of one stage in a log.
QUIET = 10.0


class Reporter:
    """Shows stages as they work; give its `notify` to an executor."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._stage = ""
        self._started = self._said = 0.0
        self._ended = False
        self._progress = Progress(
            TextColumn("{task.description:28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[text]}"),
            console=Console(stderr=True),
            disable=not self._terminal,
        )

    def __enter__(self) -> Reporter:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def notify(self, stage: str, done: int, total: int, text: str) -> None:
        """Show that `done` of `total` units of a stage are done."""
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._started, self._said, self._ended = stage, now, now, False
            self._task = self._progress.add_task(stage, total=total, text=text)
        self._progress.update(self._task, completed=done, total=total, text=text)
        ended, self._ended = self._ended, done == total
        if not self._terminal and not ended and (self._ended or now - self._said > QUIET):
            self._said = now
            self._line(stage, done, total, text, now - self._started)

    def _line(self, stage: str, done: int, total: int, text: str, seconds: float) -> None:
        left = f", {seconds / done * (total - done):.0f} s left" if 0 < done < total else ""
        note = f", {text}" if text else ""
        sys.stderr.write(f"{stage}: {done}/{total}{note}, {seconds:.0f} s{left}\n")
        sys.stderr.flush()
