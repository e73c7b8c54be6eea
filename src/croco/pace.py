"""How fast work goes: each process that works on a stage keeps one small file beside its shards.

It tells a coordinator on another host how far a shard is, and later what more of the same would cost.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from croco.sealing import replace, writer

#: Seconds between two writes of the file.
SELDOM = 2.0


@dataclass
class Pace:
    """What one process made of a stage: rows and tokens in `seconds` of work on `devices`.

    `shard` is the one in work, of whose `total` rows `done` are done; `at` is when that was so.
    """

    shard: int = -1
    done: int = 0
    total: int = 0
    rows: int = 0
    tokens: int = 0
    seconds: float = 0.0
    devices: int = 1
    machine: str = ""
    at: float = 0.0


class Clock:
    """This process's pace in a stage's folder, written now and then."""

    def __init__(self, folder: Path, devices: int) -> None:
        self.path = folder / f"pace-{writer()}.json"
        machine = f"{platform.node()}: {platform.machine()}, {os.cpu_count()} cores"
        before = _read(self.path)  # this process may come back to a stage
        self.pace = before or Pace(devices=devices, machine=machine)
        self._written = self._counted = time.monotonic()

    def start(self) -> None:
        """Work begins, or goes on after a pause that does not count."""
        self._counted = time.monotonic()

    def add(self, shard: int, done: int, total: int, rows: int = 0, tokens: int = 0) -> None:
        """So much more was made."""
        now = time.monotonic()
        pace = self.pace
        pace.shard, pace.done, pace.total = shard, done, total
        pace.rows += rows
        pace.tokens += tokens
        pace.seconds += now - self._counted
        self._counted = now
        if now - self._written > SELDOM:
            self.write()

    def stop(self) -> None:
        """Work ends, or pauses; what it took since the last rows counts as well."""
        now = time.monotonic()
        self.pace.seconds += now - self._counted
        self._counted = now
        self.write()

    def write(self) -> None:
        """Write the file now."""
        self._written = time.monotonic()
        self.pace.at = time.time()
        # What is told is not worth stopping the work for.
        with contextlib.suppress(OSError):
            replace(self.path, json.dumps(asdict(self.pace)).encode())


def paces(folder: Path) -> list[Pace]:
    """The paces of all processes that have worked in a folder; one that cannot be read is left out."""
    found = [_read(path) for path in folder.glob("pace-*.json")]
    return [pace for pace in found if pace]


def _read(path: Path) -> Pace | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Pace(**json.loads(path.read_text()))
    return None


def rates(found: Iterable[Pace]) -> Mapping[str, float]:
    """Rows, tokens and seconds of devices in all."""
    made: dict[str, Any] = {"rows": 0, "tokens": 0, "seconds": 0.0}
    for pace in found:
        made["rows"] += pace.rows
        made["tokens"] += pace.tokens
        made["seconds"] += pace.seconds * pace.devices
    return made
