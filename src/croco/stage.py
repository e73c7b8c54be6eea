"""A stage: a pure function, its config, its inputs, and where it runs. No subclassing.

`config` says what is computed and, with the inputs' identities, makes the stage's identity;
`resources` says where it runs and does not, but for the few things there that set a value.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel

from croco.records import Failure, Key
from croco.settings import Resources

if TYPE_CHECKING:
    import pyarrow as pa

#: How a stage's work is cut: per row, per prompt (all its languages together), per shard, or not at all.
Unit = Literal["row", "prompt", "shard", "whole"]

#: Told of progress: units done, units in all, and a word on the state of things.
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Item:
    """One unit of work: its key, and each input's row (a list of rows where the unit is a prompt).

    `earlier` is the row of an artifact that this one grows from, if there is one.
    """

    key: Key
    rows: dict[str, Any]
    earlier: Any = None


Batch = list[Item]
Outcome = Any | Failure


class Sealed(Protocol):
    """A finished artifact, as a stage function sees its inputs."""

    files: Path
    shards: int

    def rows(self) -> Iterator[Any]:
        """All rows, shard by shard, sorted by key within a shard."""
        ...

    def read(self, shard: int) -> list[Any]:
        """The rows of a shard, sorted by key."""
        ...

    def batches(self, shard: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Some columns of a shard's rows, a piece at a time."""
        ...

    def failed(self, shard: int) -> list[Failure]:
        """The rows that a shard was sealed without."""
        ...


@dataclass(frozen=True)
class Context:
    """What a stage function is given besides its config: inputs, a folder for files, and resources.

    `files` is published when the stage is done; `work` outlives a kill and goes when all is sealed.
    """

    inputs: Mapping[str, Sealed]
    files: Path
    resources: Resources
    progress: Progress
    work: Path = Path()


#: A row stage gives one list of outcomes per batch, in order; loads models only at the first batch.
RowFunction = Callable[[Any, Context, Iterable[Batch]], Iterator[list[Outcome]]]
#: A shard stage gets ready once and then gives any shard's rows, in pieces, by key; nothing of it is
#: journalled, so it is for work that takes no longer than reading its input.
ShardFunction = Callable[[Any, Context], Callable[[int], "Iterator[pa.Table]"]]
#: A whole stage gives all its rows at once.
WholeFunction = Callable[[Any, Context], list[Any]]


@dataclass(frozen=True)
class Stage:
    """One node of a run's graph; `inputs` are by name, and the first one's keys are its own.

    `grows` is the path of a number in the recipe: artifacts that differ in it alone share their rows'
    beginnings, so one can start from another's. `aside` names inputs with keys that the function reads by
    itself; the others' rows are joined by key. `aligned` are the inputs of which a shard needs the same
    shard alone, so that it may start when that one is sealed; of all others it needs all shards.
    `deciding` is what of the resources sets a value, such as the model that a server is asked for.
    """

    name: str
    kind: str
    version: int
    function: RowFunction | ShardFunction | WholeFunction
    config: BaseModel
    record: type[Any]
    inputs: Mapping[str, Stage] = field(default_factory=dict)
    unit: Unit = "whole"
    shards: int = 1
    resources: Resources = field(default_factory=Resources)
    allow_failed: float = 0.0
    grows: str = ""
    aside: tuple[str, ...] = ()
    aligned: frozenset[str] = frozenset()
    deciding: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """What makes the identity: plain JSON values."""
        return {
            "stage": self.kind,
            "version": self.version,
            "config": self.config.model_dump(mode="json"),
            "shards": self.shards,
            "inputs": {name: stage.identity for name, stage in self.inputs.items()},
            **({"resources": dict(self.deciding)} if self.deciding else {}),
        }

    @cached_property
    def identity(self) -> str:
        """The kind and 32 hex digits of the recipe's SHA-256."""
        return f"{self.kind}-{digest_of(self.recipe)}"


def digest_of(recipe: Any) -> str:
    """32 hex digits of the SHA-256 of plain JSON values."""
    text = json.dumps(recipe, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def shard_of(id: str, shards: int) -> int:
    """The shard of a prompt and of all that descends from it, in every language."""
    return int.from_bytes(hashlib.sha256(id.encode()).digest()[:8]) % shards


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed that depends on all the parts and on nothing else."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1
