"""What all workers of a run have come to, told in one bar per stage from what they write to disk."""

from __future__ import annotations

import time

from croco.executors.standing import Standing
from croco.pace import Pace, paces
from croco.rowwork import Notify

#: Seconds without a word after which a process is not counted as at work.
SILENT = 60.0


class Teller:
    """Tells of stages that are owed and have begun, until they are done."""

    def __init__(self, standing: Standing, notify: Notify) -> None:
        run, stages = standing.run, standing.stages
        self._roots = {name: run.store.artifact(stage).root for name, stage in stages.items()}
        self._stages, self._notify = stages, notify
        self._done = {name for name in stages if not standing.owed[name]}

    def tell(self, standing: Standing, last: bool = False) -> None:
        """Tell how many shards of each stage are done, and how those in work get on."""
        for name, stage in self._stages.items():
            done = stage.shards - len(standing.owed[name])
            if name in self._done or not (done or self._roots[name].exists()):
                continue
            now = [] if last else [one for one in paces(self._roots[name]) if at_work(one)]
            self._notify(name, done, stage.shards, words(now))
            if done == stage.shards:
                self._done.add(name)


def at_work(pace: Pace) -> bool:
    """Whether a process has said lately how far its shard is."""
    return time.time() - pace.at < SILENT and pace.done < pace.total


def words(now: list[Pace]) -> str:
    """The workers' number, the rows in work, and the tokens per second of all."""
    if not now:
        return "shards"
    workers = f"{len(now)} worker{'s' if len(now) > 1 else ''}"
    rows = f"{sum(one.done for one in now)}/{sum(one.total for one in now)} in work"
    speed = sum(one.tokens / one.seconds for one in now if one.seconds)
    return f"shards, {workers}, {rows}" + (f", {speed:.0f} tok/s" if speed else "")
