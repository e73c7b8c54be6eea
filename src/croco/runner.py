"""The runner: `work` does the owed shards of a stage (`executors.run_stages` does all stages in order).

A worker needs three plain values, the run's folder, the stage's name and a shard: it rebuilds the
stage from the saved recipe, and finds on disk what is done.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from croco import pipeline
from croco.errors import OwedError, StageError
from croco.provenance import provenance
from croco.records import MULTIPLE, Failure, Key, Keyed
from croco.runs import Run
from croco.settings import Price
from croco.stage import Batch, Context, Item, Stage, shard_of
from croco.store import Artifact, Journal, Store

#: A stage stops early when more rows failed in one go, and more than may: the cause is not in the rows.
FAILURES_BEFORE_STOP = 100

#: Told of a stage's progress: its name, units done, units in all, and a word on the state of things.
Notify = Callable[[str, int, int, str], None]


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


def work(todo: Sequence[Task], notify: Notify) -> None:
    """Do some tasks; those of one stage share one load of its model."""
    for (folder, name), group in groupby(todo, key=lambda task: (task.run, task.stage)):
        run = Run.load(folder.parent.parent, folder.name)
        stage = pipeline.build(run.recipe)[name]
        artifact = run.store.artifact(stage)
        earlier = run.store.begin(stage, provenance())
        if stage.unit == "whole":
            _work_whole(stage, run.store, artifact, notify)
        elif stage.unit == "shard":
            _work_shards(stage, run.store, artifact, [task.shard for task in group], notify)
        else:
            _RowWork(stage, run.store, artifact, earlier, notify).do([task.shard for task in group])
        artifact.tidy()
        _free_memory()


def _free_memory() -> None:
    """Give a finished stage's memory back: models refer to themselves in circles, and glibc keeps what
    was freed for later, so that the peaks of all stages would add up."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # another C library has no such thing
        ctypes.CDLL(None).malloc_trim(0)


def check_inputs(run: Run, stages: Mapping[str, Stage]) -> None:
    """Read the data files of stages that are owed, so that a bad line is told before anything is done."""
    for stage in stages.values():
        check = getattr(stage.config, "check", None)
        if check and run.store.artifact(stage).owed():
            check()


def raise_if_owed(stage: Stage, artifact: Artifact) -> None:
    """OwedError that counts the rows a stage still owes and tells the first one's error."""
    owed = artifact.owed()
    failed = [failure for shard in owed for failure in artifact.failed(shard)]
    if failed:
        first = failed[0]
        raise OwedError(
            f"stage {stage.name!r}: {len(failed)} rows failed and stay owed, the others are kept"
            f" (first: {first.id} {first.lang}: {first.error}): mend the cause and run again,"
            " or raise allow_failed to go on without them"
        )
    if owed:
        raise StageError(f"stage {stage.name!r}: {len(owed)} shards are still owed: run again")


def _work_whole(stage: Stage, store: Store, artifact: Artifact, notify: Notify) -> None:
    notify(stage.name, 0, 1, "")
    scratch = artifact.scratch()
    try:
        context = _context(stage, store, scratch, notify)
        rows: list[Any] = stage.function(stage.config, context)  # type: ignore[call-arg, assignment]
        artifact.publish(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for shard in range(stage.shards):
        own = rows
        if issubclass(stage.record, Keyed):
            own = sorted((r for r in rows if shard_of(r.id, stage.shards) == shard), key=_order)
        artifact.seal(shard, own)
    notify(stage.name, 1, 1, f"{len(rows)} rows")


def _work_shards(
    stage: Stage, store: Store, artifact: Artifact, shards: Sequence[int], notify: Notify
) -> None:
    """Make and seal shards, some at a time: Arrow and numpy share the cores.

    One more than there are cores, since a thread now and then waits for Python or for the disk.
    """
    rows_of: Callable[[int], Iterator[Any]] = stage.function(  # type: ignore[call-arg, assignment]
        stage.config, _context(stage, store, artifact.root, notify)
    )
    notify(stage.name, 0, len(shards), "")
    with ThreadPoolExecutor(stage.resources.threads or (os.cpu_count() or 1) + 1) as pool:
        work = [pool.submit(lambda s: artifact.seal_tables(s, rows_of(s)), s) for s in shards]
        try:
            for done, one in enumerate(as_completed(work), 1):
                one.result()
                notify(stage.name, done, len(shards), "shards")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


class _RowWork:
    """Feeds the owed batches of some shards through one stage function, and seals what is whole."""

    def __init__(
        self,
        stage: Stage,
        store: Store,
        artifact: Artifact,
        earlier: Artifact | None,
        notify: Notify,
    ) -> None:
        self.stage = stage
        self.store = store
        self.artifact = artifact
        self.earlier = earlier
        self.notify = notify
        self.journals: dict[int, Journal] = {}
        self.sizes: dict[int, int] = {}
        self.left: dict[int, set[Key]] = {}
        self.failures = 0

    def do(self, shards: Sequence[int]) -> None:
        server = self.stage.resources.server
        total = sum(self.store.artifact(self._first).count(shard) for shard in shards)
        self.rate = _Rate(total, server.price if server else None)
        context = _context(self.stage, self.store, self.artifact.root, self.notify)
        results: Iterator[list[Any]] = self.stage.function(  # type: ignore[call-arg, assignment]
            self.stage.config, context, self._batches(shards)
        )
        for outcomes in results:
            self._keep(outcomes)
        for shard in [s for s in shards if self.left.get(s) == set()]:
            self._seal(shard)
        self.notify(self.stage.name, *self.rate.end())

    @property
    def _first(self) -> Stage:
        return next(iter(self.stage.inputs.values()))

    def _batches(self, shards: Sequence[int]) -> Iterator[Batch]:
        """The owed part of every batch. Batches are cut from all rows, owed or not, so that a run
        that was interrupted gives the engine the same ones as a run that was not."""
        for shard in shards:
            items = _items(self.stage, self.store, self.earlier, shard)
            journal = self.journals[shard] = self.artifact.journal(shard)
            size = self.stage.resources.batch_size
            cut = [items[start : start + size] for start in range(0, len(items), size)]
            owed = [[item for item in batch if item.key not in journal.rows] for batch in cut]
            owed = [batch for batch in owed if batch]
            self.sizes[shard] = len(items)
            self.left[shard] = {item.key for batch in owed for item in batch}
            self.rate.skip(len(journal.rows))
            yield from owed

    def _keep(self, outcomes: list[Any]) -> None:
        """Journal outcomes, in whatever order they come; a shard that lacks none is sealed."""
        by_shard: defaultdict[int, list[Any]] = defaultdict(list)
        for outcome in outcomes:
            by_shard[shard_of(outcome.id, self.stage.shards)].append(outcome)
        for shard, own in by_shard.items():
            left, keys = self.left.get(shard, set()), {outcome.key for outcome in own}
            if len(keys) < len(own) or not keys <= left:
                raise StageError(
                    f"stage {self.stage.name!r} answered with other keys than it was given"
                )
            self.journals[shard].append(own)
            left -= keys
            self.failures += sum(isinstance(outcome, Failure) for outcome in own)
        self.notify(self.stage.name, *self.rate.add(outcomes))
        for shard in by_shard:
            if not self.left[shard]:
                self._seal(shard)
        if self.failures > max(FAILURES_BEFORE_STOP, self.stage.allow_failed * self.rate.total):
            raise_if_owed(self.stage, self.artifact)

    def _seal(self, shard: int) -> None:
        """Seal a shard whose rows are all made, or all but as many as may be missing."""
        journal = self.journals.pop(shard)
        del self.left[shard]
        failed = journal.failed
        if len(failed) <= self.stage.allow_failed * self.sizes[shard]:
            rows = sorted(journal.rows.values(), key=_order)
            self.artifact.seal(shard, rows, failed)


class _Rate:
    """Rows done of all, tokens per second where rows have tokens, and what a server counted."""

    def __init__(self, total: int, price: Price | None) -> None:
        self.total, self.done, self.tokens = total, 0, 0
        self.price, self.prompt_tokens, self.completion_tokens = price, 0, 0
        self.start = time.monotonic()

    def skip(self, rows: int) -> None:
        self.done += rows

    def end(self) -> tuple[int, int, str]:
        """All is tried: where a unit is a prompt, fewer units than rows were there to do."""
        self.total = self.done
        return self.add([])

    def add(self, outcomes: Sequence[Any]) -> tuple[int, int, str]:
        self.done += len(outcomes)
        self.tokens += sum(len(ids) for row in outcomes for ids in getattr(row, "token_ids", ()))
        self.prompt_tokens += sum(getattr(row, "prompt_tokens", 0) for row in outcomes)
        self.completion_tokens += sum(getattr(row, "completion_tokens", 0) for row in outcomes)
        return self.done, self.total, ", ".join(self._words())

    def _words(self) -> Iterator[str]:
        seconds = max(time.monotonic() - self.start, 1e-9)
        tokens = self.tokens or self.completion_tokens
        if tokens:
            yield f"{tokens / seconds:.0f} tok/s"
        if self.prompt_tokens:
            counted = f"{self.prompt_tokens} + {self.completion_tokens} tokens"
            yield counted + (f" for ${self._cost(self.price):.4f}" if self.price else "")

    def _cost(self, price: Price) -> float:
        return (self.prompt_tokens * price.prompt + self.completion_tokens * price.completion) / 1e6


def _items(stage: Stage, store: Store, earlier: Artifact | None, shard: int) -> list[Item]:
    """The shard's units of work in key order: each key that all keyed inputs have, with their rows."""
    tables = {
        name: {row.key: row for row in store.artifact(source).read(shard)}
        for name, source in stage.inputs.items()
        if issubclass(source.record, Keyed) and name not in stage.aside
    }
    keys = sorted(set.intersection(*(set(table) for table in tables.values())))
    if stage.unit == "row":
        begun = {row.key: row for row in earlier.known(shard)} if earlier else {}
        return [
            Item(key, {name: table[key] for name, table in tables.items()}, begun.get(key))
            for key in keys
        ]
    grouped = {id: list(own) for id, own in groupby(keys, key=lambda key: key[0])}
    return [
        Item((id, MULTIPLE), {name: [table[key] for key in own] for name, table in tables.items()})
        for id, own in grouped.items()
    ]


def _context(stage: Stage, store: Store, files: Path, notify: Notify) -> Context:
    inputs = {name: store.artifact(source) for name, source in stage.inputs.items()}

    def progress(done: int, total: int, text: str) -> None:
        notify(stage.name, done, total, text)

    work = store.artifact(stage).work
    return Context(inputs, files, stage.resources, progress, work)


def _order(row: Any) -> Any:
    return row.key
