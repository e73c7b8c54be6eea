"""The executor that is this machine: the calling process, or workers of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from croco.errors import RecipeError
from croco.executor_settings import ExecutorSettings
from croco.executors.dispatch import Dispatch, WorkerDiedError, hands
from croco.rowwork import Notify, raise_if_owed
from croco.runner import Task, Worker, tasks, work
from croco.runs import Run
from croco.stage import Stage


class LocalExecutor:
    """Does the tasks one after the other, here; or by crews of processes, if any stage asks for workers."""

    def __init__(self, settings: ExecutorSettings, notify: Notify) -> None:
        self.settings, self.notify = settings, notify

    def run(self, run: Run, stages: Mapping[str, Stage]) -> int:
        """Bring all stages to done; an error ends the run and keeps what was done."""
        if any(hands(stage) > 1 for stage in stages.values()):
            devices = Devices()
            return Dispatch(
                run,
                stages,
                lambda stage: Processes.of(stage, devices),
                self.notify,
                self.settings.attempts,
            ).finish()
        worked = 0
        for stage in stages.values():
            todo = tasks(run, stage)
            if todo:
                worked += 1
                work(todo, self.notify)
                raise_if_owed(stage, run.store.artifact(stage))
        return worked


class Devices:
    """The GPUs of this machine that are free, by the names that the environment has for them."""

    def __init__(self) -> None:
        self.free = visible()
        self.total = len(self.free)

    def take(self, count: int) -> list[str] | None:
        """So many of them; none where others have them. RecipeError where there are not so many."""
        if count > self.total:
            raise RecipeError(
                f"resources: workers and gpus ask for {count} GPUs and this machine shows"
                f" {self.total}: ask for fewer, or run on a cluster"
            )
        if count > len(self.free):
            return None
        taken, self.free = self.free[:count], self.free[count:]
        return taken

    def give(self, names: list[str]) -> None:
        """Have them back."""
        self.free += names


#: Variables that say which GPUs a process sees: NVIDIA's and AMD's.
VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


def visible() -> list[str]:
    """The GPUs that this process may use, without loading what uses them."""
    for variable in VISIBLE:
        if variable in os.environ:
            return [name for name in os.environ[variable].split(",") if name.strip()]
    nvidia = [path for path in Path("/dev").glob("nvidia[0-9]*") if path.name[6:].isdigit()]
    count = len(nvidia) or len(list(Path("/dev/dri").glob("renderD*")))
    return [str(number) for number in range(count)]


class Processes:
    """Workers that are processes of this machine, each with devices of its own."""

    def __init__(self, names: list[list[str]], devices: Devices) -> None:
        self._names, self._devices = names, devices
        self._pools = [self._start(own) for own in names]
        self._pids = [pool.submit(os.getpid) for pool in self._pools]
        self._busy: set[int] = set()
        self._closed = False

    @classmethod
    def of(cls, stage: Stage, devices: Devices) -> Processes | None:
        """A stage's workers; None where others have the devices."""
        count = hands(stage)
        taken = devices.take(stage.resources.workers * stage.resources.gpus)
        if taken is None:
            return None
        each = len(taken) // count
        names = [taken[k * each : (k + 1) * each] for k in range(count)]
        return cls(names, devices)

    def _start(self, names: list[str]) -> ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, spawn, initializer=_begin, initargs=(names,))

    def free(self) -> int:
        """How many have nothing to do."""
        return len(self._pools) - len(self._busy)

    def hand(self, task: Task) -> Future[None]:
        """Give a task to the first free one; one that died is replaced."""
        place = next(k for k in range(len(self._pools)) if k not in self._busy)
        self._busy.add(place)
        landed: Future[None] = Future()
        try:
            done = self._pools[place].submit(_do, task)
        except BrokenProcessPool:  # it was killed while it had nothing to do
            self._replace(place)
            done = self._pools[place].submit(_do, task)
        done.add_done_callback(lambda done: self._land(place, done, landed))
        return landed

    def _replace(self, place: int) -> None:
        """Start a new one in the place of one that died."""
        self._pools[place].shutdown(wait=False)
        self._pools[place] = self._start(self._names[place])
        self._pids[place] = self._pools[place].submit(os.getpid)

    def _land(self, place: int, done: Future[None], landed: Future[None]) -> None:
        if self._closed:  # nobody waits for it, and nobody is to take its place
            return
        error = None if done.cancelled() else done.exception()
        if isinstance(error, BrokenProcessPool):
            self._replace(place)
            error = WorkerDiedError("it was killed")
        self._busy.discard(place)
        if error:
            landed.set_exception(error)
        else:
            landed.set_result(None)

    def close(self) -> None:
        """Kill them: what is in work is in its journal."""
        self._closed = True
        for pool, pid in zip(self._pools, self._pids, strict=True):
            if pid.done() and not pid.exception():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid.result(), signal.SIGKILL)
            pool.shutdown(wait=False, cancel_futures=True)
        for own in self._names:
            self._devices.give(own)


_worker: Worker | None = None


def _begin(devices: list[str]) -> None:
    """A worker process starts: with its devices, deaf to Ctrl-C, and gone when its parent is."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if devices:
        os.environ.update(dict.fromkeys(VISIBLE[:1], ",".join(devices)))
    parent = multiprocessing.parent_process()
    if parent:
        threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    _worker = Worker(lambda *_: None)


def _leave_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _do(task: Task) -> None:
    assert _worker  # noqa: S101
    _worker.work([task])
