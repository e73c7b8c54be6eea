"""How a run shows its progress: a bar on a terminal, plain lines in a log; always on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

#: Seconds between two lines of one stage in a log.
QUIET = 10.0


class _Shown:
    """A stage that is shown: when it began, and when a line of it was last written."""

    def __init__(self, bar: TaskID) -> None:
        self.bar = bar
        self.started = self.said = time.monotonic()
        self.ended = False


class Reporter:
    """Shows stages as they work, several at a time; give its `notify` to an executor."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown: dict[str, _Shown] = {}
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
        if stage not in self._shown:
            self._shown[stage] = _Shown(self._progress.add_task(stage, total=total, text=text))
        shown, now = self._shown[stage], time.monotonic()
        self._progress.update(shown.bar, completed=done, total=total, text=text)
        ended, shown.ended = shown.ended, done == total
        if not self._terminal and not ended and (shown.ended or now - shown.said > QUIET):
            shown.said = now
            self._line(stage, done, total, text, now - shown.started)

    def _line(self, stage: str, done: int, total: int, text: str, seconds: float) -> None:
        left = f", {seconds / done * (total - done):.0f} s left" if 0 < done < total else ""
        note = f", {text}" if text else ""
        sys.stderr.write(f"{stage}: {done}/{total}{note}, {seconds:.0f} s{left}\n")
        sys.stderr.flush()
