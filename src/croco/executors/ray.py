"""The executor that is a Ray cluster: actors in crews, restarted and retried by Ray itself."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
import ray.exceptions

from croco.errors import CrocoError, RecipeError
from croco.executor_settings import ExecutorSettings
from croco.executors.dispatch import Dispatch, WorkerDiedError, hands
from croco.rowwork import Notify
from croco.runner import Task, Worker
from croco.runs import Run
from croco.settings import Resources
from croco.stage import Stage

UNITS = {"M": 2**20, "G": 2**30}


class RayExecutor:
    """Hands tasks to actors of a cluster whose nodes all see the run's folder."""

    def __init__(self, settings: ExecutorSettings, notify: Notify) -> None:
        self.settings, self.notify = settings, notify

    def run(self, run: Run, stages: Mapping[str, Stage]) -> int:
        """Bring all stages to done on the cluster."""
        with _connected(self.settings.ray.address):
            attempts = self.settings.attempts
            return Dispatch(
                run, stages, lambda stage: Actors(stage, attempts), self.notify, attempts
            ).finish()


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """A connection to the cluster, or to the one that this process is connected to already."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    more: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, **more)
    except (ConnectionError, RuntimeError, ValueError) as error:
        words = str(error).splitlines() or [type(error).__name__]
        raise RecipeError(
            f"executor.ray.address: no Ray cluster at {address!r} ({words[0]}): start one, or say"
            " 'local' for one on this machine alone"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


class Hand:
    """A worker in an actor; it works in the folder that the run was started in."""

    def __init__(self, folder: str) -> None:
        with suppress(OSError):  # a node that lacks it has no modules of the user's there either
            os.chdir(folder)
        self._worker = Worker(lambda *_: None)

    def ready(self) -> None:
        """Come back as soon as the actor runs."""

    def work(self, run: str, stage: str, shard: int) -> CrocoError | None:
        """Do a task; what it stopped with, in our own words."""
        try:
            self._worker.work([Task(Path(run), stage, shard)])
        except CrocoError as error:
            return error
        return None


class Actors:
    """Workers that are actors; one is free when Ray has found it a place and it has nothing to do."""

    def __init__(self, stage: Stage, attempts: int) -> None:
        # Where Ray Train starts workers with what was asked for, who waits for them needs nothing.
        several = stage.unit == "whole" and stage.resources.workers > 1
        options = {"num_cpus": 0} if several else asked(stage.resources)
        make = ray.remote(Hand).options(**options, max_restarts=-1, max_task_retries=attempts)
        self._all = [make.remote(str(Path.cwd())) for _ in range(hands(stage))]
        self._free: list[Any] = []
        self._closed = False
        for actor in self._all:
            actor.ready.remote().future().add_done_callback(
                lambda done, one=actor: self._free.append(one)
            )

    def free(self) -> int:
        """How many run and have nothing to do."""
        return len(self._free)

    def hand(self, task: Task) -> Future[None]:
        """Give a task to a free one."""
        actor = self._free.pop()
        landed: Future[None] = Future()
        future = actor.work.remote(str(task.run), task.stage, task.shard).future()
        future.add_done_callback(lambda done: self._land(actor, done, landed))
        return landed

    def close(self) -> None:
        """Kill them: what is in work is in its journal."""
        self._closed = True
        for actor in self._all:
            ray.kill(actor)

    def _land(self, actor: Any, done: Future[CrocoError | None], landed: Future[None]) -> None:
        self._free.append(actor)
        if self._closed:
            return
        error: BaseException | None = done.exception()
        if isinstance(error, ray.exceptions.RayTaskError):
            error = error.cause or error
        elif error:
            error = WorkerDiedError(str(error).splitlines()[0])
        else:
            error = done.result()
        if error:
            landed.set_exception(error)
        else:
            landed.set_result(None)


def asked(resources: Resources) -> dict[str, Any]:
    """What an actor asks Ray for; a CPU where nothing is said."""
    options: dict[str, Any] = {"num_cpus": resources.cpus or 1, "num_gpus": resources.gpus}
    if resources.memory:
        options["memory"] = int(resources.memory[:-1]) * UNITS[resources.memory[-1]]
    if resources.custom:
        options["resources"] = resources.custom
    return options
