"""Done, owed or new, and why: what a run would do, told from disk alone."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from croco import describing, journal
from croco.errors import RecipeError
from croco.pace import paces
from croco.pairing.reasons import COLUMNS, of_arm, of_batches
from croco.records import Failure
from croco.runs import Run
from croco.stage import Stage, shard_of
from croco.store import Artifact, Store

#: Bytes of journals that are read to count rows; more are believed as their writers tell.
READ = 64 * 2**20

#: Pools that are looked at for why they give no pair.
POOLS = 100_000

State = Literal["done", "owed", "new"]


@dataclass(frozen=True, slots=True)
class Line:
    """One stage of a plan: where it stands, and what is known of its rows; `note` says of pairs how many
    pools give none, and why."""

    stage: str
    identity: str
    state: State
    why: str
    shards_done: int
    shards: int
    rows: int
    failed: list[Failure]
    note: str = ""


def plan(run: Run, stages: Mapping[str, Stage]) -> list[Line]:
    """One line per stage, in order."""
    return [_line(run, stage) for stage in stages.values()]


def until(stages: Mapping[str, Stage], last: str | None) -> dict[str, Stage]:
    """The stages up to the one named `last`, or else to all of that kind; RecipeError if there is none."""
    if last is None:
        return dict(stages)
    of_kind = [name for name, stage in stages.items() if stage.kind == last]
    wanted = [last] if last in stages else of_kind
    if not wanted:
        raise RecipeError(f"there is no stage {last!r}: stages are {', '.join(stages)}")
    needed = {name for one in wanted for name in _ancestry(stages[one])}
    return {name: stage for name, stage in stages.items() if name in needed}


def _ancestry(stage: Stage) -> set[str]:
    return {stage.name}.union(*(_ancestry(source) for source in stage.inputs.values()))


def _line(run: Run, stage: Stage) -> Line:
    artifact = run.store.artifact(stage)
    owed = set(artifact.owed())
    found = None if owed else artifact.noted()
    if found is None:
        found = [artifact.counted(shard) for shard in range(stage.shards) if shard not in owed]
    in_work, failed_in_work = _in_work(artifact, owed)
    rows = sum(count for count, _ in found) + in_work
    failed = [one for _, own in found for one in own] + failed_in_work
    state: State = "owed" if (artifact.root / describing.NAME).exists() else "new"
    why = _why_new(run, stage) if state == "new" else ""
    return Line(
        stage.name,
        stage.identity,
        state if owed else "done",
        why if owed else "",
        stage.shards - len(owed),
        stage.shards,
        rows,
        failed,
        _without_pair(run, stage) if rows and stage.kind == "pair" and not owed else "",
    )


def _without_pair(run: Run, stage: Stage) -> str:
    """How many pools of a pairing give no pair, and why, in the recipe's words; of the first pools alone
    where there are many."""
    recipe, arm = run.recipe.model_dump(), stage.name.partition(".")[0]
    found = of_batches(_first(run.store.artifact(stage), stage.shards))
    return found.words(of_arm(recipe, arm))


def _first(artifact: Artifact, shards: int) -> Iterator[Any]:
    """The columns of the first pools that tell why they give no pair."""
    left = POOLS
    for shard in range(shards):
        for batch in artifact.batches(shard, COLUMNS):
            yield batch
            left -= batch.num_rows
            if left < 0:
                return


def _in_work(artifact: Artifact, owed: Container[int]) -> tuple[int, list[Failure]]:
    """How many rows of owed shards are made, and which failed; of large journals only what is told."""
    begun = [shard for shard in journal.begun(artifact.journals) if shard in owed]
    if journal.size(artifact.journals) > READ:
        return sum(one.done for one in paces(artifact.root) if one.shard in begun), []
    journals = [artifact.journal(shard) for shard in begun]
    return sum(len(one.rows) for one in journals), [f for one in journals for f in one.failed]


def _why_new(run: Run, stage: Stage) -> str:
    """Which fields differ from what the run last had under this name."""
    before = run.linked(stage.name)
    described = describing.read(before) if before else None
    if described is None:
        return "never made"
    return ", ".join(describing.differences(described["recipe"], stage.recipe)[:4])


def life(store: Store, stages: Mapping[str, Stage], id: str) -> Iterator[tuple[str, Any]]:
    """The rows of one prompt id in every stage, sealed or still in a journal: (stage name, row)."""
    for name, stage in stages.items():
        artifact = store.artifact(stage)
        for row in _rows_of(artifact, shard_of(id, stage.shards), id):
            yield name, row


def _rows_of(artifact: Artifact, shard: int, id: str) -> Iterator[Any]:
    rows = [*artifact.known(shard), *artifact.failed(shard)]
    yield from (row for row in rows if getattr(row, "id", None) == id)
