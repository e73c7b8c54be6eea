"""The runner: a `Worker` does tasks, wherever it runs (`executors` say where, and in which order).

A worker needs three plain values, the run's folder, the stage's name and a shard: it rebuilds the
stage from the saved recipe, and finds on disk what is done.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gc
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from croco import describing, keeping, pipeline, plugins
from croco.errors import RecipeError
from croco.pace import Clock
from croco.provenance import place, provenance
from croco.records import Keyed
from croco.rowwork import Notify, RowWork, order
from croco.runs import Run
from croco.stage import Context, Stage, shard_of
from croco.store import Artifact


@dataclass(frozen=True, slots=True)
class Task:
    """The unit of distribution: three plain values."""

    run: Path
    stage: str
    shard: int


def tasks(run: Run, stage: Stage) -> list[Task]:
    """What is owed of a stage; a whole stage is one task."""
    owed = run.store.artifact(stage).owed()
    shards = owed[:1] if stage.unit == "whole" else owed
    return [Task(run.folder, stage.name, shard) for shard in shards]


class Worker:
    """Does tasks one after another; what a stage has loaded is kept until it is another one's turn."""

    def __init__(self, notify: Notify) -> None:
        self.notify = notify
        self._run: Run | None = None
        self._stages: dict[str, Stage] = {}
        self._turn: tuple[Path, str] | None = None
        self._do: Callable[[list[int]], None]

    def work(self, todo: Sequence[Task]) -> None:
        """Do tasks; those of one stage that stand together are done as one."""
        for (folder, name), group in groupby(todo, key=lambda task: (task.run, task.stage)):
            if self._turn != (folder, name):
                self.leave()
                self._do = self._prepared(folder, name)
                self._turn = folder, name
            try:
                with keeping.kept():
                    self._do([task.shard for task in group])
            except BaseException:
                self.leave()  # what is kept may be in any state
                raise

    def leave(self) -> None:
        """Free what the last stage has loaded."""
        self._turn = None
        self._do = _nothing
        keeping.forget()
        free_memory()

    def _prepared(self, folder: Path, name: str) -> Callable[[list[int]], None]:
        """What does shards of a stage, ready to be given one after the other."""
        if self._run is None or self._run.folder != folder:
            self._run = Run.load(folder.parent.parent, folder.name)
            self._stages = pipeline.build(self._run.recipe)
        stage, store = self._stages[name], self._run.store
        _refuse_changed(self._run, stage)
        # Containers set it: float32 would be multiplied with 10 bits of mantissa. Torch reads it once.
        os.environ.pop("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", None)
        plugins.expect(getattr(stage.config, "code", {}))
        artifact = store.artifact(stage)
        earlier = store.begin(stage, provenance() | place(stage.resources))
        inputs = {name: store.artifact(source) for name, source in stage.inputs.items()}

        def progress(done: int, total: int, text: str) -> None:
            self.notify(stage.name, done, total, text)

        context = Context(inputs, artifact.root, stage.resources, progress, artifact.work)
        if stage.unit == "whole":
            return lambda shards: _work_whole(stage, context, artifact, self.notify)
        if stage.unit == "shard":
            return _ShardWork(stage, context, artifact, self.notify).do
        return RowWork(stage, store, context, earlier, self.notify).do


def _refuse_changed(run: Run, stage: Stage) -> None:
    """RecipeError where a stage is not the one that the run was started with, as its link tells."""
    begun = run.linked(stage.name)
    if begun is None or begun.name == stage.identity:
        return
    described = describing.read(begun)
    fields = describing.differences(described["recipe"], stage.recipe) if described else []
    what = f" ({fields[0]})" if fields else ""
    raise RecipeError(
        f"stage {stage.name!r}: what it is made from was edited since the run began{what}: start the run"
        " again"
    )


def work(todo: Sequence[Task], notify: Notify) -> None:
    """Do some tasks in this process, and keep nothing of what they loaded."""
    worker = Worker(notify)
    try:
        worker.work(todo)
    finally:
        worker.leave()


def _nothing(shards: list[int]) -> None:
    """What is done with shards where no stage is ready."""


def free_memory() -> None:
    """Give a finished stage's memory back: models refer to themselves in circles, and glibc keeps what
    was freed for later, so that the peaks of all stages would add up."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # another C library has no such thing
        ctypes.CDLL(None).malloc_trim(0)


def _work_whole(stage: Stage, context: Context, artifact: Artifact, notify: Notify) -> None:
    notify(stage.name, 0, 1, "")
    clock = Clock(artifact.root, stage.resources.gpus or 1)

    def progress(done: int, total: int, text: str) -> None:
        clock.add(0, done, total)
        context.progress(done, total, text)

    scratch = artifact.scratch()
    try:
        own = dataclasses.replace(context, files=scratch, progress=progress)
        rows: list[Any] = stage.function(stage.config, own)  # type: ignore[call-arg, assignment]
        artifact.publish(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for shard, part in enumerate(_parted(stage, rows)):
        artifact.seal(shard, part)
    clock.add(0, len(rows), len(rows), len(rows))
    clock.stop()
    artifact.tidy()
    notify(stage.name, 1, 1, f"{len(rows)} rows")


def _parted(stage: Stage, rows: list[Any]) -> list[list[Any]]:
    """Each shard's own rows, in order; rows without a key stand in all of them."""
    if not issubclass(stage.record, Keyed):
        return [rows] * stage.shards
    parts: list[list[Any]] = [[] for _ in range(stage.shards)]
    for row in rows:
        parts[shard_of(row.id, stage.shards)].append(row)
    return [sorted(part, key=order) for part in parts]


class _ShardWork:
    """Makes and seals shards, some at a time: Arrow and numpy share the cores."""

    def __init__(self, stage: Stage, context: Context, artifact: Artifact, notify: Notify) -> None:
        self.stage, self.artifact, self.notify = stage, artifact, notify
        self.context = context
        self.clock = Clock(artifact.root, stage.resources.gpus or 1)
        self.rows_of: Callable[[int], Iterator[Any]] | None = None

    def do(self, shards: Sequence[int]) -> None:
        """Seal these shards. One thread more than there are cores works on them, since a thread now
        and then waits for Python or for the disk."""
        self.clock.start()
        stage = self.stage
        self.rows_of = self.rows_of or stage.function(  # type: ignore[call-arg, assignment]
            stage.config, self.context
        )
        self.notify(stage.name, 0, len(shards), "")
        with ThreadPoolExecutor(stage.resources.threads or (os.cpu_count() or 1) + 1) as pool:
            work = [pool.submit(self._seal, shard) for shard in shards]
            try:
                for done, one in enumerate(as_completed(work), 1):
                    self.clock.add(one.result(), 1, 1)
                    self.notify(stage.name, done, len(shards), "shards")
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        self.clock.stop()
        self.artifact.tidy()

    def _seal(self, shard: int) -> int:
        assert self.rows_of  # noqa: S101
        self.artifact.seal_tables(shard, self.rows_of(shard))
        return shard
