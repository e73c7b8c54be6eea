"""Where a run stands: which shards are sealed, and which may start since their inputs are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from croco.runner import Task
from croco.runs import Run
from croco.stage import Stage


class Standing:
    """The owed shards of some stages, as the disk told them last.

    Stages that are the same work under several names share one set; the `first` of them stands for all.
    """

    def __init__(self, run: Run, stages: Mapping[str, Stage]) -> None:
        self.run, self.stages = run, stages
        leaders: dict[str, str] = {}
        self.first = {name: leaders.setdefault(s.identity, name) for name, s in stages.items()}
        self._artifacts = {name: run.store.artifact(stages[name]) for name in leaders.values()}
        self.names = list(self._artifacts)
        own = {name: set(artifact.owed()) for name, artifact in self._artifacts.items()}
        self.owed = {name: own[first] for name, first in self.first.items()}

    def look(self) -> None:
        """See what has been sealed since, by whomever; what was done stays done."""
        for name, artifact in self._artifacts.items():
            if self.owed[name]:
                self.owed[name].intersection_update(artifact.owed())

    def look_at(self, name: str, shard: int) -> bool:
        """Whether a shard is sealed by now; a whole stage's are all looked at."""
        if self.stages[name].unit == "whole":
            self.owed[name].intersection_update(self._artifacts[name].owed())
        elif self._artifacts[name].path(shard).exists():
            self.owed[name].discard(shard)
        return shard not in self.owed[name]

    def shards(self, name: str) -> Iterator[int]:
        """The owed shards of a stage that may start, in order; a whole stage has one for all."""
        stage = self.stages[name]
        if not self.owed[name] or not self.open(name):
            return
        near = [self.owed[stage.inputs[one].name] for one in stage.aligned]
        for shard in sorted(self.owed[name]):
            if not any(shard in owed for owed in near):
                yield shard
                if stage.unit == "whole":
                    return

    def tasks(self, name: str) -> Iterator[Task]:
        """The same as tasks."""
        for shard in self.shards(name):
            yield Task(self.run.absolute().folder, name, shard)

    def open(self, name: str) -> bool:
        """Whether all is sealed that a stage reads whole, so that some shard may start."""
        stage = self.stages[name]
        whole = [one.name for key, one in stage.inputs.items() if key not in stage.aligned]
        return not any(self.owed[one] for one in whole)

    def flowing(self, name: str) -> bool:
        """Whether a stage is owed and the first of its shards may have started."""
        stage = self.stages[name]
        near = [stage.inputs[one] for one in stage.aligned]
        begun = all(len(self.owed[one.name]) < one.shards for one in near)
        return bool(self.owed[name]) and self.open(name) and begun
