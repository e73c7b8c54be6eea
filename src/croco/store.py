"""Artifacts on disk: done is a sealed file, owed is what is missing.

    store/format.json                    the version of this layout
    store/<identity>/stage.json          the stage's recipe and provenance
    store/<identity>/shard-00000.parquet sealed rows, sorted by key; its footer has the rows that failed
    store/<identity>/rows.json           the numbers of rows of a finished artifact, for a quick look
    store/<identity>/pace-*.json         how fast each process that worked on it was
    store/<identity>/claims/             which job took which shard, where jobs take them by themselves
    store/<identity>/files/              what a whole stage made besides rows (an adapter, a report)
    store/<identity>/journals/           shards in work, and files in the making (`unfinished`: checkpoints)

A journal has one JSON line per batch, written at once: a torn last line is owed again as a whole. Every
process writes one of its own, so that two at work on one shard harm nobody; all of them are read.
Sealing writes a temporary file and links it into place, so the first sealer wins and there are no
locks; kill anything at any moment and what is there is either whole or not there. All hosts that mount
the folder may work in it at once.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from croco import describing
from croco.errors import DataError
from croco.journal import Journal, whole_lines
from croco.records import Failure
from croco.schemas import decode, encode, schema
from croco.sealing import beside, flush, published, write_once
from croco.stage import Stage

if TYPE_CHECKING:
    import pyarrow as pa

#: Raised where an older version's artifacts would be misread; 2: identities of 32 hex digits.
FORMAT = 2
#: How sealed shards are packed: LZ4 is as small as Snappy on text and read twice as fast.
COMPRESSION = "lz4"
#: A row group's size in memory, so that a shard can be read in pieces.
GROUP_BYTES = 64 * 2**20
#: Where a shard's footer has the rows that it was sealed without.
FAILED = "croco.failed"
NOTED = "rows.json"


class Store:
    """A folder of artifacts, one per stage identity."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._checked: set[str] = set()

    def open(self) -> Store:
        """The store, made if missing; DataError where a CroCo of another format wrote it."""
        marker = self.root / "format.json"
        if not marker.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            write_once(marker, json.dumps({"format": FORMAT}).encode())
        self.check()
        return self

    def check(self) -> None:
        """DataError where the store is not of a format that this version reads."""
        if re.match("[a-z0-9+]+:/", str(self.root)):
            raise DataError(
                f"{self.root}: the store must be a folder, which all machines may mount; object storage is"
                " for input files alone: give --home a path"
            )
        marker = self.root / "format.json"
        if not marker.exists():
            return
        try:
            found = int(json.loads(marker.read_text())["format"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{marker} is damaged: restore it or use another folder") from error
        if found != FORMAT:
            remedy = (
                "give --home another folder, or move this one's `store` and `runs` away"
                if found < FORMAT
                else "upgrade croco-llm or use another folder"
            )
            raise DataError(
                f"{marker}: the store has format {found} and this version of CroCo reads {FORMAT}:"
                f" {remedy}"
            )

    def artifact(self, stage: Stage) -> Artifact:
        """The artifact of a stage, whether it exists yet or not; DataError where another recipe made it."""
        root = self.root / stage.identity
        if stage.identity not in self._checked and describing.check(root, stage.recipe):
            self._checked.add(stage.identity)
        return Artifact(root, stage.record, stage.shards)

    def begin(self, stage: Stage, provenance: dict[str, Any]) -> Artifact | None:
        """Describe a stage's artifact, and the artifact that it grows from, if there is one.

        Which one that is, is written down: whoever goes on with the work takes the same. Raises
        DataError where another recipe made the artifact.
        """
        root = self.root / stage.identity
        root.mkdir(parents=True, exist_ok=True)
        if not describing.check(root, stage.recipe):
            grown_from = None
            if stage.grows:
                grown_from = describing.nearest(self.root, stage.kind, stage.recipe, stage.grows)
            describing.write(root, stage.recipe, provenance, grown_from)
        self.artifact(stage)
        source = (describing.read(root) or {}).get("grown_from")
        return Artifact(self.root / source, stage.record, stage.shards) if source else None


class Artifact:
    """What one stage made: sealed shards of rows, and files."""

    def __init__(self, root: Path, record: type[Any], shards: int) -> None:
        self.root = root
        self.record = record
        self.shards = shards
        self.files = root / "files"
        self.journals = root / "journals"
        self.work = self.journals / "unfinished"

    def path(self, shard: int) -> Path:
        """Where a shard is sealed."""
        return self.root / f"shard-{shard:05d}.parquet"

    def owed(self) -> list[int]:
        """The shards that are not sealed yet."""
        try:
            there = {entry.name for entry in os.scandir(self.root)}
        except FileNotFoundError:
            there = set()
        return [shard for shard in range(self.shards) if self.path(shard).name not in there]

    def read(self, shard: int) -> list[Any]:
        """The rows of a sealed shard, sorted by key."""
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(self.path(shard))
        except (OSError, ValueError) as error:
            raise self._unreadable(shard) from error
        return [decode(self.record, values) for values in table.to_pylist()]

    def known(self, shard: int) -> list[Any]:
        """The rows of a shard, sealed or still in its journal."""
        if self.path(shard).exists():
            return self.read(shard)
        return list(self.journal(shard).rows.values())

    def rows(self) -> Iterator[Any]:
        """All rows, shard by shard."""
        for shard in range(self.shards):
            yield from self.read(shard)

    def batches(self, shard: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Some columns of a sealed shard, a piece at a time, rows sorted by key.

        A column that the shard lacks, since an older version sealed it, is left out.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.path(shard)) as file:
                for group in range(file.num_row_groups):
                    yield from file.read_row_group(group, columns=list(columns)).to_batches()
        except (OSError, pa.ArrowInvalid) as error:
            raise self._unreadable(shard) from error

    def _unreadable(self, shard: int) -> DataError:
        return DataError(f"{self.path(shard)} cannot be read: remove it and run again")

    def count(self, shard: int) -> int:
        """The number of rows of a sealed shard, read from its footer."""
        return int(self._footer(shard).num_rows)

    def seal(self, shard: int, rows: Iterable[Any], failed: Sequence[Failure] = ()) -> None:
        """Publish a shard's rows, and the failures that it goes without; the first sealer wins."""
        import pyarrow as pa

        values = [_for_arrow(encode(row)) for row in rows]
        table = pa.Table.from_pylist(values, schema=schema(self.record))
        self.seal_tables(shard, [table], failed)
        self.journal(shard).remove()

    def seal_tables(
        self, shard: int, tables: Iterable[pa.Table], failed: Sequence[Failure] = ()
    ) -> None:
        """Publish a shard's rows, given in pieces as Arrow tables; the first sealer wins."""
        import pyarrow.parquet as pq

        (self.root / NOTED).unlink(missing_ok=True)  # of an artifact that lost this shard
        without = json.dumps([encode(failure) for failure in failed])
        with published(self.path(shard)) as temporary:
            # In the file itself: whoever seals first, its rows and its failures belong together.
            form = schema(self.record).with_metadata({FAILED: without})
            with pq.ParquetWriter(temporary, form, compression=COMPRESSION) as writer:
                for table in tables:
                    rows = max(1, int(table.num_rows * GROUP_BYTES / max(table.nbytes, 1)))
                    writer.write_table(table.cast(form), row_group_size=rows)

    def _note(self) -> None:
        """Write down the numbers of rows, so that nobody need look into every shard for them again."""
        if (self.root / NOTED).exists():
            return
        found = [self.counted(shard) for shard in range(self.shards)]
        failed = [[encode(one) for one in own] for _, own in found]
        noted = {"rows": [rows for rows, _ in found], "failed": failed}
        write_once(self.root / NOTED, json.dumps(noted).encode())

    def noted(self) -> list[tuple[int, list[Failure]]] | None:
        """The numbers of rows and the failures of a finished artifact's shards; None where unknown."""
        try:
            noted = json.loads((self.root / NOTED).read_text())
            return [
                (rows, [Failure(**one) for one in failed])
                for rows, failed in zip(noted["rows"], noted["failed"], strict=True)
            ]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def failed(self, shard: int) -> list[Failure]:
        """The rows that failed: of a sealed shard those it went without, else those still owed."""
        if self.path(shard).exists():
            return self._failed_of(self._footer(shard), shard)
        return self.journal(shard).failed

    def counted(self, shard: int) -> tuple[int, list[Failure]]:
        """The number of a sealed shard's rows and the failures it went without, in one look."""
        footer = self._footer(shard)
        return int(footer.num_rows), self._failed_of(footer, shard)

    def _footer(self, shard: int) -> Any:
        import pyarrow.parquet as pq

        try:
            return pq.read_metadata(self.path(shard))
        except (OSError, ValueError) as error:
            raise self._unreadable(shard) from error

    def _failed_of(self, footer: Any, shard: int) -> list[Failure]:
        known = (footer.metadata or {}).get(FAILED.encode())
        if known is not None:
            return [Failure(**values) for values in json.loads(known)]
        # Sealed by an earlier version, with its failures in a file beside it.
        path = self.root / f"shard-{shard:05d}.failed.jsonl"
        return [Failure(**values) for values in whole_lines(path)]

    def journal(self, shard: int) -> Journal:
        """The journal of a shard in work."""
        return Journal(self.journals, shard, self.record)

    def scratch(self) -> Path:
        """An empty folder for files in the making; `publish` puts it in place."""
        (self.journals).mkdir(parents=True, exist_ok=True)
        folder = beside(self.journals / "files")
        folder.mkdir()
        return folder

    def publish(self, folder: Path) -> None:
        """Move finished files into place; where somebody else was first, theirs stay.

        Removing the folder otherwise is the caller's.
        """
        if any(folder.iterdir()) and not self.files.exists():
            flush(folder)
            try:
                folder.rename(self.files)
            except OSError:
                if not self.files.exists():
                    raise

    def tidy(self) -> None:
        """Remove what work left behind, of killed processes too, once every shard is sealed."""
        if not self.owed():
            self._note()
            shutil.rmtree(self.journals, ignore_errors=True)
            for leftover in self.root.glob(".*"):
                leftover.unlink(missing_ok=True)


def _for_arrow(values: dict[str, Any]) -> dict[str, Any]:
    """Maps as lists of pairs, which is how Arrow takes them."""
    return {
        k: list(v.items()) if isinstance(v, dict) and k == "parts" else v for k, v in values.items()
    }
