"""The executor that is a SLURM cluster: an array of workers per stage, submitted by submitit.

All stages are submitted at once, each waiting for its inputs'. Workers take shards by themselves
(`shift`), so nobody need watch; who watches submits again what was left owed.
"""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Mapping
from contextlib import redirect_stderr, suppress
from typing import Any

import submitit

from croco.errors import OwedError, RecipeError, StageError
from croco.executor_settings import ExecutorSettings
from croco.executors import queue
from croco.executors.batch import Order, asked, orders
from croco.executors.claims import Claims
from croco.executors.shift import Shift
from croco.executors.standing import Standing
from croco.executors.tell import Teller
from croco.rowwork import Notify, raise_if_owed
from croco.runs import Run
from croco.stage import Stage

#: Seconds between two looks at the disk, and between two at the queue.
POLL, SELDOM = 2.0, 10.0
#: How often a job may meet its time limit and go on.
LIMITS = 1000


class SlurmExecutor:
    """Submits what is owed and watches until it is done; Ctrl-C cancels."""

    def __init__(self, settings: ExecutorSettings, notify: Notify) -> None:
        self.settings, self.notify = settings, notify

    def run(self, run: Run, stages: Mapping[str, Stage]) -> int:
        """Bring all stages to done on the cluster."""
        standing = Standing(run, stages)
        worked = sum(bool(owed) for owed in standing.owed.values())
        try:
            self._finish(run, standing)
        except BaseException:
            with suppress(StageError):
                queue.cancel(run)
            raise
        for stage in stages.values():
            raise_if_owed(stage, run.store.artifact(stage))
        return worked

    def submit(self, run: Run, stages: Mapping[str, Stage]) -> list[queue.Submitted]:
        """Submit what is owed and has no jobs in the queue yet, and leave."""
        return self._submit(run, Standing(run, stages))

    def _finish(self, run: Run, standing: Standing) -> None:
        teller = Teller(standing, self.notify)
        futile, before = 0, _owed(standing)
        while before:
            since = time.time()
            self._submit(run, standing)
            self._watch(run, standing, teller)
            after = _owed(standing)
            if after:
                _raise_failure(run, standing, since)
            futile = futile + 1 if after == before else 0
            if futile >= self.settings.attempts:
                name = next(name for name, owed in standing.owed.items() if owed)
                raise StageError(
                    f"stage {name!r}: its jobs ended {futile} times with nothing done: read their logs"
                    f" in {queue.folder(run, name)}"
                )
            before = after

    def _watch(self, run: Run, standing: Standing, teller: Teller) -> None:
        """Tell how the jobs get on until all is done or none is left in the queue."""
        names = {name for one in queue.recorded(run) for name in one.names}
        asked_at = time.monotonic()
        while True:
            standing.look()
            teller.tell(standing)
            if not _owed(standing):
                return
            if time.monotonic() - asked_at > SELDOM:
                asked_at = time.monotonic()
                if queue.gone(names) >= names:
                    standing.look()
                    return
            time.sleep(POLL)

    def _submit(self, run: Run, standing: Standing) -> list[queue.Submitted]:
        now = queue.queue()
        if now is None or shutil.which("sbatch") is None:
            raise RecipeError(
                "executor.kind is slurm and squeue does not answer here: run on a machine of the cluster"
            )
        jobs = {
            one.stage: one.job
            for one in queue.recorded(run)
            if any(name in now for name in one.names)
        }
        made = []
        for order in orders(standing, self.settings, jobs.keys()):
            root = run.store.artifact(standing.stages[order.stage]).root
            Claims(root, "", queue.gone).drop(standing.owed[order.stage])
            submitted = self._sbatch(run, standing.stages[order.stage], order, jobs)
            jobs[order.stage] = submitted.job
            made.append(submitted)
        return made

    def _sbatch(
        self, run: Run, stage: Stage, order: Order, jobs: Mapping[str, str]
    ) -> queue.Submitted:
        slurm = asked(stage, self.settings)
        python = slurm.python or ("python3" if slurm.container else None)
        executor = submitit.SlurmExecutor(
            folder=queue.folder(run.absolute(), order.stage),
            max_num_timeout=LIMITS,
            python=f"{slurm.container} {python}" if slurm.container else python,
        )
        waits = [f"{how}:{jobs[name]}" for name, how in order.waits.items() if name in jobs]
        more: dict[str, Any] = {"dependency": ",".join(waits)} if waits else {}
        executor.update_parameters(
            job_name=f"croco-{run.name}-{order.stage}",
            array_parallelism=order.workers,
            **order.parameters,
            **more,
        )
        folder, count = str(run.absolute().folder), order.workers
        try:
            with redirect_stderr(io.StringIO()):  # submitit shows sbatch's own words there as well
                made = executor.map_array(Shift(), [folder] * count, [order.stage] * count)
        except submitit.core.utils.FailedJobError as error:
            words = str(error).strip().splitlines()[0].removeprefix("sbatch: error: ")
            raise RecipeError(
                f"stage {order.stage!r}: sbatch refuses its jobs ({words}): mend"
                f" resources.{stage.kind} or executor.slurm"
            ) from error
        job = str(made[0].job_id).partition("_")[0]
        submitted = queue.Submitted(order.stage, job, count, time.time())
        queue.record(run, submitted)
        return submitted


def _owed(standing: Standing) -> int:
    return sum(len(owed) for owed in standing.owed.values())


def _raise_failure(run: Run, standing: Standing, since: float) -> None:
    """Raise what stopped a stage: rows that failed, or the error that a worker ended with."""
    for name, stage in standing.stages.items():
        if not standing.owed[name]:
            continue
        try:
            raise_if_owed(stage, run.store.artifact(stage))
        except OwedError:
            raise
        except StageError:
            pass  # shards are owed and nothing failed: their workers are gone
        errors = [
            path
            for path in queue.folder(run, name).glob("*.error")
            if path.stat().st_mtime >= since - 1
        ]
        for path in errors:
            kind, _, words = path.read_text().partition(": ")
            from croco import errors as known

            raise getattr(known, kind, StageError)(words)
