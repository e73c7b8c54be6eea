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
        self._sizes: dict[tuple[str, int], int] = {}
        own = {name: set(artifact.owed()) for name, artifact in self._artifacts.items()}
        self.owed = {name: own[first] for name, first in self.first.items()}

    def look(self) -> None:
        """See what has been sealed since, by whomever; what was done stays done."""
        for name, artifact in self._artifacts.items():
            if self.owed[name]:
                self.owed[name].intersection_update(artifact.owed())

    def look_at(self, name: str, shard: int) -> bool:
        """Whether a shard is sealed by now; of a whole stage, all of them."""
        if self.stages[name].unit == "whole":
            self.owed[name].intersection_update(self._artifacts[name].owed())
        elif self._artifacts[name].path(shard).exists():
            self.owed[name].discard(shard)
        return not self.wanted(name, shard)

    def wanted(self, name: str, shard: int) -> bool:
        """Whether a shard is owed; of a whole stage, any of them."""
        owed = self.owed[name]
        return bool(owed) if self.stages[name].unit == "whole" else shard in owed

    def shards(self, name: str) -> Iterator[int]:
        """The owed shards of a stage that may start, the largest first, so that workers end together.

        Of a whole stage 0 stands for all.
        """
        stage = self.stages[name]
        if not self.owed[name] or not self.open(name):
            return
        if stage.unit == "whole":
            yield 0
            return
        near = [self.owed[stage.inputs[one].name] for one in stage.aligned]
        ready = [one for one in self.owed[name] if not any(one in owed for owed in near)]
        yield from sorted(ready, key=lambda shard: (-self._size(name, shard), shard))

    def _size(self, name: str, shard: int) -> int:
        """The bytes of what a shard is made from: the more there are, the longer it takes."""
        source = next(iter(self.stages[name].inputs.values()), None)
        if source is None or shard >= source.shards:
            return 0
        if (source.name, shard) not in self._sizes:
            path = self.run.store.artifact(source).path(shard)
            self._sizes[source.name, shard] = path.stat().st_size if path.exists() else 0
        return self._sizes[source.name, shard]

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
