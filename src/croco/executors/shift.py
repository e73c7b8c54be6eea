"""What a job of SLURM does: shard after shard of one stage, until there is none that it could do."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from croco import pipeline
from croco.errors import CrocoError
from croco.executors import queue
from croco.executors.claims import Claims
from croco.executors.standing import Standing
from croco.runner import Task, Worker
from croco.runs import Run
from croco.sealing import replace

#: Seconds between two looks for shards whose inputs are still being made.
POLL = 2.0


class Shift:
    """A worker's time in a job; submitit finds it by its name, with plain values."""

    def __call__(self, folder: str, stage: str) -> None:
        """Do shards of a stage of the run in `folder`."""
        run = Run.load(Path(folder).parent.parent, Path(folder).name)
        try:
            _Shift(run, stage).work()
        except CrocoError as error:
            path = queue.folder(run, stage) / f"{name()}.error"
            replace(path, f"{type(error).__name__}: {error}".encode())
            sys.stderr.write(f"croco: {error}\n")
            sys.exit(error.exit_code)

    def checkpoint(self, folder: str, stage: str) -> Any:
        """What is to be done after a preemption or a time limit: the same, and disk says from where."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, folder, stage)


def name() -> str:
    """What the queue calls this job; it keeps its name when it is requeued."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array:
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID", str(os.getpid()))


class _Shift:
    def __init__(self, run: Run, name_: str) -> None:
        self.run = run
        self.stages = pipeline.build(run.recipe)
        self.stage = self.stages[name_]
        inputs = {one.name: one for one in self.stage.inputs.values()}
        self.standing = Standing(run, inputs | {name_: self.stage})
        self.claims = Claims(run.store.artifact(self.stage).root, name(), queue.gone)
        self.worker = Worker(_line)

    def work(self) -> None:
        """Take and do shards; leave when none is free and none can become so."""
        while shard := self._next():
            sys.stderr.write(f"{self.stage.name}: shard {shard[0]}\n")
            self.worker.work([Task(self.run.folder, self.stage.name, shard[0])])
            if not self.standing.look_at(self.stage.name, shard[0]):
                self.claims.tried(shard[0])
        _line(self.stage.name, 0, 0, "no shard is left for this worker")

    def _next(self) -> list[int]:
        """The next shard for this worker, waited for while others still make its inputs."""
        while not (found := self._taken()):
            coming = self._coming()
            # Asked in this order: who has left the queue meanwhile may have sealed something before.
            if (found := self._taken()) or not coming:
                return found
            time.sleep(POLL)
        return found

    def _taken(self) -> list[int]:
        """The shard that this worker has claimed now; empty where none can be had."""
        self.standing.look()
        return list(self.claims.take(self.standing.shards(self.stage.name)))

    def _coming(self) -> bool:
        """Whether inputs are missing that some job of this run is there to make."""
        missing = {one.name for one in self.stage.inputs.values() if self.standing.owed[one.name]}
        now = queue.queue() if missing else {}
        if now is None:
            return bool(missing)
        wanted = {self.stages[name].identity for name in missing}
        making = [name for name, stage in self.stages.items() if stage.identity in wanted]
        jobs = [one for one in queue.recorded(self.run) if one.stage in making]
        return any(name in now for one in jobs for name in one.names)


def _line(stage: str, done: int, total: int, text: str) -> None:
    """Progress as lines in the job's log, seldom."""
    now = time.monotonic()
    if now - _said.get(stage, -60.0) > 30 or done == total:
        _said[stage] = now
        sys.stderr.write(f"{stage}: {done}/{total} {text}\n")
        sys.stderr.flush()


_said: dict[str, float] = {}
