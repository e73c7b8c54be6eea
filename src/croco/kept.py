"""What online training sampled: JSON lines while it goes on, Parquet when it is done.

A line, or a step in Parquet, holds one sampling: the answers, their rewards, and the pairs of them. The
same prompt may be there at several steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from croco.records import Keyed, Pairs, Responses, Rewards
from croco.schemas import decode, encode, schema

#: The file of a sampling's rows, and what they are.
TABLES: dict[str, type[Keyed]] = {"responses": Responses, "rewards": Rewards, "pairs": Pairs}
FOLDER = "online"


@dataclass(frozen=True, slots=True)
class Sampling:
    """What was sampled before a step (the first is 0): rows by key, a pool's pairs among them."""

    step: int
    responses: list[Responses]
    rewards: list[Rewards]
    pairs: list[Pairs]


class Kept:
    """The samplings so far; those of steps from `upto` on, which a kill undid, are made again."""

    def __init__(self, path: Path, upto: int) -> None:
        self.path = path
        kept = [line for line in _lines(path) if json.loads(line)["step"] < upto]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(kept), encoding="utf-8")

    def add(self, made: Sampling) -> None:
        """One more sampling, written at once."""
        rows = {name: [encode(row) for row in getattr(made, name)] for name in TABLES}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": made.step} | rows, allow_nan=True) + "\n")

    def samplings(self) -> Iterator[Sampling]:
        """All samplings, in order."""
        for line in _lines(self.path):
            own = json.loads(line)
            rows = {name: [decode(kind, row) for row in own[name]] for name, kind in TABLES.items()}
            yield Sampling(own["step"], **rows)

    def publish(self, files: Path) -> None:
        """Write all samplings to a training's files, as a Parquet table of each kind of row."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        (files / FOLDER).mkdir(parents=True, exist_ok=True)
        for name, kind in TABLES.items():
            rows = [
                {"step": one.step} | encode(row)
                for one in self.samplings()
                for row in getattr(one, name)
            ]
            form = pa.schema([pa.field("step", pa.int64()), *schema(kind)])
            pq.write_table(pa.Table.from_pylist(rows, form), files / FOLDER / f"{name}.parquet")


def read(files: Path) -> Iterator[Sampling]:
    """The samplings in a training's files, in order."""
    import pyarrow.parquet as pq

    found: dict[int, dict[str, list[Any]]] = {}
    for name, kind in TABLES.items():
        for row in pq.read_table(files / FOLDER / f"{name}.parquet").to_pylist():
            rows = found.setdefault(row.pop("step"), {name: [] for name in TABLES})
            rows[name].append(decode(kind, row))
    for step in sorted(found):
        yield Sampling(step, **found[step])


def pairs(files: Path) -> Iterator[Pairs]:
    """The pools of all samplings in a training's files."""
    return (row for one in read(files) for row in one.pairs)


def _lines(path: Path) -> list[str]:
    """The whole lines of a file; a torn last one is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [line for line in lines if line.endswith("\n")]
