"""Tasks handed to crews of workers, each as soon as its inputs are sealed.

A crew is the workers of one place: stages that ask for the same resources share one, stages that ask for
others work side by side. A free worker takes the earliest stage's next shard. What is handed out twice,
because a worker died or seems stuck, is sealed by whoever is first.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

from croco.errors import StageError
from croco.executors.standing import Standing
from croco.executors.tell import Teller
from croco.rowwork import Notify, raise_if_owed
from croco.runner import Task
from croco.runs import Run
from croco.stage import Stage

#: Seconds between two looks at what others, and shards in work, have come to.
TICK = 1.0
#: Seconds between two looks for workers that are to begin, while none is at work.
BEAT = 0.1
#: Seconds after which a crew gives its devices back that has nothing to do, and may have, soon.
IDLE, WAITING = 5.0, 60.0
#: A task is begun a second time, by a worker who has nothing else to do, when it takes so many times as
#: long as the longest that was finished, and so many seconds more.
SLOW, SLOWER = 2.0, 10.0


class WorkerDiedError(Exception):
    """A worker is gone; its task is owed."""


class Crew(Protocol):
    """The workers of one place."""

    def free(self) -> int:
        """How many have nothing to do."""
        ...

    def hand(self, task: Task) -> Future[None]:
        """Give a task to a free worker; the future has WorkerDiedError where it did not come back."""
        ...

    def close(self) -> None:
        """Let all workers go, at once."""
        ...


@dataclass
class _Flight:
    task: Task
    place: Any
    since: float = field(default_factory=time.monotonic)


def place_of(stage: Stage) -> Any:
    """What a worker of a stage needs: stages of the same needs share their workers."""
    own = stage.resources
    asked = own.gpus, own.cpus, own.memory, tuple(sorted(own.custom.items()))
    return hands(stage), own.workers, *asked


def hands(stage: Stage) -> int:
    """How many workers take tasks of a stage: a whole one is one task, which may use several machines."""
    return 1 if stage.unit == "whole" else stage.resources.workers


class Dispatch:
    """One run's tasks over crews that `hire` makes.

    `hire` gives none where others have all devices.
    """

    def __init__(
        self,
        run: Run,
        stages: Mapping[str, Stage],
        hire: Callable[[Stage], Crew | None],
        notify: Notify,
        attempts: int,
    ) -> None:
        self.run, self.stages, self.hire = run, stages, hire
        self.places = {name: place_of(stage) for name, stage in stages.items()}
        self.standing = Standing(run, stages)
        self.attempts, self.notify = attempts, notify
        self.teller = Teller(self.standing, notify)
        self.crews: dict[Any, Crew] = {}
        self.flights: dict[Future[None], _Flight] = {}
        self.tried: set[Task] = set()
        self.deaths: Counter[Task] = Counter()
        self.longest: defaultdict[str, float] = defaultdict(float)
        self.idle: dict[Any, float] = {}

    def finish(self) -> int:
        """Bring all stages to done; the number that had work to do."""
        owed = [name for name in self.stages if self.standing.owed[name]]
        looked = time.monotonic()
        try:
            while self._hand_out():
                done, _ = wait(self.flights, timeout=TICK, return_when=FIRST_COMPLETED)
                if not self.flights:
                    self._wait()
                for future in done:
                    self._land(future, self.flights.pop(future))
                if time.monotonic() - looked > TICK:
                    self.standing.look()
                    self.teller.tell(self.standing)
                    looked = time.monotonic()
        finally:
            for crew in self.crews.values():
                crew.close()
        self.standing.look()
        self.teller.tell(self.standing, last=True)
        for stage in self.stages.values():
            raise_if_owed(stage, self.run.store.artifact(stage))
        return len(owed)

    def _hand_out(self) -> bool:
        """Give tasks to free workers; whether anything is under way."""
        full = set()
        for name in self.standing.names:
            place = self.places[name]
            if place in full:
                continue
            for task in self._waiting(name):
                crew = self._crew(name)
                if crew is None or not crew.free():
                    # Who becomes free meanwhile takes this stage's next, not one of a later stage.
                    full.add(place)
                    break
                self.flights[crew.hand(task)] = _Flight(task, place)
        self._begin_again()
        self._let_go()
        return self._goes_on()

    def _goes_on(self) -> bool:
        """Whether something owed is under way, or waits for a worker to be free or to begin."""
        wanted = self.standing.wanted
        under_way = any(wanted(one.task.stage, one.task.shard) for one in self.flights.values())
        return under_way or self._next_waiting() is not None

    def _next_waiting(self) -> str | None:
        """The first stage with a task that waits for a worker."""
        return next((name for name in self.standing.names for _ in self._waiting(name)), None)

    def _wait(self) -> None:
        """Wait for workers that have not begun, such as for a place on a cluster, and say so."""
        name = self._next_waiting()
        if name is not None:
            shards = self.stages[name].shards
            done = shards - len(self.standing.owed[name])
            self.notify(name, done, shards, "shards, waiting for workers to begin")
        time.sleep(BEAT)

    def _waiting(self, name: str) -> Iterator[Task]:
        """The stage's tasks that may start and were not handed out."""
        away = {flight.task.shard for flight in self.flights.values() if flight.task.stage == name}
        for task in self.standing.tasks(name):
            if task.shard not in away and task not in self.tried:
                yield task

    def _crew(self, name: str) -> Crew | None:
        """The crew of a stage's place, hired with what idle ones must give back if need be."""
        place = self.places[name]
        if place not in self.crews:
            crew = self.hire(self.stages[name])
            if crew is None:
                busy = {flight.place for flight in self.flights.values()}
                for other in [one for one in self.crews if one not in busy]:
                    self.crews.pop(other).close()
                crew = self.hire(self.stages[name])
            if crew is None:
                return None
            self.crews[place] = crew
        return self.crews[place]

    def _begin_again(self) -> None:
        """Give what takes long to a worker who has nothing to do."""
        away = Counter(flight.task for flight in self.flights.values())
        for flight in list(self.flights.values()):
            name, crew = flight.task.stage, self.crews[flight.place]
            usual = self.longest.get(name)
            slow = usual and time.monotonic() - flight.since > SLOW * usual + SLOWER
            # A whole stage's checkpoints lie in one place: two at work would mix theirs.
            slow = slow and self.stages[name].unit != "whole"
            wanted = slow and self.standing.wanted(name, flight.task.shard)
            if wanted and away[flight.task] == 1 and crew.free():
                self.flights[crew.hand(flight.task)] = _Flight(flight.task, flight.place)
                away[flight.task] += 1

    def _let_go(self) -> None:
        """Close crews that have nothing to do, now or soon, so that others can have their devices."""
        busy = {flight.place for flight in self.flights.values()}
        now = time.monotonic()
        for place in list(self.crews):
            if place in busy:
                self.idle.pop(place, None)
                continue
            own = [name for name in self.stages if self.places[name] == place]
            soon = any(self.standing.flowing(name) for name in own)
            if now - self.idle.setdefault(place, now) > (WAITING if soon else IDLE):
                self.crews.pop(place).close()
                del self.idle[place]

    def _land(self, future: Future[None], flight: _Flight) -> None:
        """Take note of how a task ended."""
        task = flight.task
        try:
            future.result()
        except WorkerDiedError as error:
            self.deaths[task] += 1
            sealed = self.standing.look_at(task.stage, task.shard)
            if not sealed and self.deaths[task] >= self.attempts:
                raise StageError(
                    f"stage {task.stage!r}: {self.deaths[task]} workers died on shard {task.shard}"
                    f" ({error}): look for what ended them, such as a full memory, and run again"
                ) from error
            return
        self.longest[task.stage] = max(self.longest[task.stage], time.monotonic() - flight.since)
        if not self.standing.look_at(task.stage, task.shard):
            self.tried.add(task)
