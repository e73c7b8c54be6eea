"""SLURM's queue, and what this run has put into it.

Only `squeue`, `scancel` and the disk are asked: `sacct` is missing on some clusters.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from croco.errors import StageError
from croco.runs import Run
from croco.sealing import replace

#: A job that is in one of these is about to leave.
LEAVING = {
    "COMPLETING",
    "COMPLETED",
    "CANCELLED",
    "FAILED",
    "TIMEOUT",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
}


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job of a stage, or an array of `tasks` of them; `at` is when, in seconds since 1970."""

    stage: str
    job: str
    tasks: int
    at: float

    @property
    def names(self) -> list[str]:
        """What the queue calls its tasks."""
        if self.tasks == 1:
            return [self.job]
        return [f"{self.job}_{task}" for task in range(self.tasks)]


def folder(run: Run, stage: str) -> Path:
    """Where a stage's batch scripts, logs and submissions lie."""
    return run.folder / "jobs" / stage


def record(run: Run, submitted: Submitted) -> None:
    """Write down what was submitted."""
    path = folder(run, submitted.stage) / f"{submitted.job}.json"
    replace(path, json.dumps(asdict(submitted)).encode())


def recorded(run: Run) -> list[Submitted]:
    """All that was ever submitted for a run, oldest first."""
    found = []
    for path in run.folder.glob("jobs/*/*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            found.append(Submitted(**json.loads(path.read_text())))
    return sorted(found, key=lambda one: (one.at, int(one.job)))


def queue() -> dict[str, str] | None:
    """The user's jobs by name, `12` or `12_3` in an array, with states; None where nobody can tell."""
    try:
        done = subprocess.run(
            ["squeue", "--me", "--noheader", "--array", "--format=%i %T"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    pairs = [line.split() for line in done.stdout.splitlines() if line.strip()]
    return {name: state for name, state in pairs if state not in LEAVING}


def gone(names: Collection[str]) -> set[str]:
    """Which of some jobs are not in the queue any more; none where nobody can tell."""
    now = queue() if names else {}
    return set() if now is None else set(names) - now.keys()


def states(run: Run, now: dict[str, str]) -> dict[str, Counter[str]]:
    """By stage, how many of the run's jobs are in which state."""
    found: dict[str, Counter[str]] = {}
    for submitted in recorded(run):
        for name in submitted.names:
            if name in now:
                found.setdefault(submitted.stage, Counter())[now[name].lower()] += 1
    return found


def cancel(run: Run) -> int:
    """Cancel all of the run's jobs that are in the queue; their number.

    Raises StageError where SLURM cannot be asked.
    """
    now = queue()
    if now is None:
        raise StageError("squeue does not answer here: cancel on a machine of the cluster")
    names = [name for one in recorded(run) for name in one.names if name in now]
    if names:
        subprocess.run(["scancel", *names], check=False, capture_output=True, timeout=120)
    return len(names)
