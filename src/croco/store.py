"""Artifacts on disk: done is a sealed file, owed is what is missing.

    store/format.json                    the version of this layout
    store/<identity>/stage.json          the stage's recipe and provenance
    store/<identity>/shard-00000.parquet sealed rows, sorted by key
    store/<identity>/shard-00000.failed.jsonl  rows that the shard was sealed without, where allowed
    store/<identity>/files/              what a whole stage made besides rows (an adapter, a report)
    store/<identity>/journals/           shards in work, and files in the making (`work`: checkpoints)

A journal has one JSON line per batch, written at once: a torn last line is owed again as a whole.
Sealing writes a temporary file and links it into place, so the first sealer wins and there are no
locks; kill anything at any moment and what is there is either whole or not there.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from croco.errors import DataError
from croco.records import Failure, Key
from croco.schemas import decode, encode, schema
from croco.stage import Stage

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
#: How sealed shards are packed: LZ4 is as small as Snappy on text and read twice as fast.
COMPRESSION = "lz4"
#: A row group's size in memory, so that a shard can be read in pieces.
GROUP_BYTES = 64 * 2**20


class Store:
    """A folder of artifacts, one per stage identity."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self) -> Store:
        """The store, made if missing; DataError where a newer CroCo wrote it."""
        marker = self.root / "format.json"
        if not marker.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            write_once(marker, json.dumps({"format": FORMAT}).encode())
        self.check()
        return self

    def check(self) -> None:
        """DataError where the store is not of a format that this version reads."""
        marker = self.root / "format.json"
        if not marker.exists():
            return
        try:
            found = json.loads(marker.read_text())["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{marker} is damaged: restore it or use another folder") from error
        if found != FORMAT:
            raise DataError(
                f"{marker}: the store has format {found} and this version of CroCo reads {FORMAT}:"
                " upgrade croco-llm or use another folder"
            )

    def artifact(self, stage: Stage) -> Artifact:
        """The artifact of a stage, whether it exists yet or not."""
        return Artifact(self.root / stage.identity, stage.record, stage.shards)

    def begin(self, stage: Stage, provenance: dict[str, Any]) -> Artifact | None:
        """Describe a stage's artifact, and the artifact that it grows from, if there is one.

        Which one that is, is written down: whoever goes on with the work takes the same.
        """
        root = self.root / stage.identity
        root.mkdir(parents=True, exist_ok=True)
        if not (root / "stage.json").exists():
            grown_from = self._nearest(stage) if stage.grows else None
            described = {"recipe": stage.recipe, "provenance": provenance, "grown_from": grown_from}
            write_once(root / "stage.json", json.dumps(described, indent=1).encode())
        source = json.loads((root / "stage.json").read_text()).get("grown_from")
        return Artifact(self.root / source, stage.record, stage.shards) if source else None

    def _nearest(self, stage: Stage) -> str | None:
        """The identity of the artifact with the most to give of those that differ in `grows` alone."""
        wanted, _ = _without(stage.recipe, stage.grows)
        found = []
        for path in self.root.glob(f"{stage.kind}-*/stage.json"):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                rest, value = _without(json.loads(path.read_text())["recipe"], stage.grows)
                if rest == wanted:
                    found.append((value, path.parent.name))
        return max(found)[1] if found else None


class Artifact:
    """What one stage made: sealed shards of rows, and files."""

    def __init__(self, root: Path, record: type[Any], shards: int) -> None:
        self.root = root
        self.record = record
        self.shards = shards
        self.files = root / "files"
        self.work = root / "journals" / "work"

    def path(self, shard: int) -> Path:
        """Where a shard is sealed."""
        return self.root / f"shard-{shard:05d}.parquet"

    def owed(self) -> list[int]:
        """The shards that are not sealed yet."""
        return [shard for shard in range(self.shards) if not self.path(shard).exists()]

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
        import pyarrow.parquet as pq

        return int(pq.read_metadata(self.path(shard)).num_rows)

    def seal(self, shard: int, rows: Iterable[Any], failed: Sequence[Failure] = ()) -> None:
        """Publish a shard's rows, and the failures that it goes without; the first sealer wins."""
        import pyarrow as pa

        left_out = self.root / f"shard-{shard:05d}.failed.jsonl"
        left_out.unlink(missing_ok=True)  # of a sealer that was killed before it was done
        if failed:
            replace(left_out, "".join(json.dumps(encode(f)) + "\n" for f in failed).encode())
        values = [_for_arrow(encode(row)) for row in rows]
        table = pa.Table.from_pylist(values, schema=schema(self.record))
        self.seal_tables(shard, [table])
        self.journal(shard).remove()

    def seal_tables(self, shard: int, tables: Iterable[pa.Table]) -> None:
        """Publish a shard's rows, given in pieces as Arrow tables; the first sealer wins."""
        import pyarrow.parquet as pq

        with published(self.path(shard)) as temporary:
            form = schema(self.record)
            with pq.ParquetWriter(temporary, form, compression=COMPRESSION) as writer:
                for table in tables:
                    rows = max(1, int(table.num_rows * GROUP_BYTES / max(table.nbytes, 1)))
                    writer.write_table(table.cast(form), row_group_size=rows)

    def failed(self, shard: int) -> list[Failure]:
        """The rows that failed: of a sealed shard those it went without, else those still owed."""
        path = self.root / f"shard-{shard:05d}.failed.jsonl"
        if self.path(shard).exists():
            return [Failure(**values) for values in _whole_lines(path)]
        return self.journal(shard).failed

    def journal(self, shard: int) -> Journal:
        """The journal of a shard in work."""
        return Journal(self.root / "journals" / f"{shard:05d}.jsonl", self.record)

    def scratch(self) -> Path:
        """An empty folder for files in the making; `publish` puts it in place."""
        (self.root / "journals").mkdir(parents=True, exist_ok=True)
        folder = _beside(self.root / "journals" / "files")
        folder.mkdir()
        return folder

    def publish(self, folder: Path) -> None:
        """Move finished files into place; where somebody else was first, theirs stay.

        Removing the folder otherwise is the caller's.
        """
        if any(folder.iterdir()) and not self.files.exists():
            _flush(folder)
            try:
                folder.rename(self.files)
            except OSError:
                if not self.files.exists():
                    raise

    def tidy(self) -> None:
        """Remove what work left behind, of killed processes too, once every shard is sealed."""
        if not self.owed():
            shutil.rmtree(self.root / "journals", ignore_errors=True)
            for leftover in self.root.glob(".*"):
                leftover.unlink(missing_ok=True)


class Journal:
    """The finished batches of one shard in work; reading it gives the rows and the failures."""

    def __init__(self, path: Path, record: type[Any]) -> None:
        self.path = path
        self.rows: dict[Key, Any] = {}
        self._failures: dict[Key, Failure] = {}
        for batch in _whole_lines(path):
            self._take([decode(record, row) for row in batch["rows"]], batch["failures"])

    @property
    def failed(self) -> list[Failure]:
        """The failures whose rows have not been made since."""
        return [self._failures[key] for key in sorted(self._failures) if key not in self.rows]

    def append(self, outcomes: Sequence[Any]) -> None:
        """Add one batch of rows and failures, flushed to disk as one line."""
        rows = [row for row in outcomes if not isinstance(row, Failure)]
        failures = [encode(row) for row in outcomes if isinstance(row, Failure)]
        line = json.dumps(
            {"rows": [encode(row) for row in rows], "failures": failures}, ensure_ascii=False
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            # A torn line of a killed process is closed first, so that it can never join this one.
            file.write(
                b"\n" + line.encode() + b"\n" if _is_torn(self.path) else line.encode() + b"\n"
            )
            file.flush()
            os.fsync(file.fileno())
        self._take(rows, failures)

    def remove(self) -> None:
        """Forget the journal, once its shard is sealed."""
        self.path.unlink(missing_ok=True)

    def _take(self, rows: Sequence[Any], failures: Sequence[dict[str, Any]]) -> None:
        for row in rows:
            self.rows.setdefault(row.key, row)
        for failure in failures:
            one: Failure = decode(Failure, failure)
            self._failures[one.key] = one


def _without(recipe: dict[str, Any], path: str) -> tuple[dict[str, Any], Any]:
    """A recipe without the value at a dotted path, and the value."""
    name, _, rest = path.partition(".")
    others = {key: value for key, value in recipe.items() if key != name}
    if not rest:
        return others, recipe[name]
    inner, value = _without(recipe[name], rest)
    return others | {name: inner}, value


def write_once(path: Path, data: bytes) -> None:
    """Put data at a path whole or not at all; where the path exists already, it stays as it is."""
    with published(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def published(path: Path) -> Iterator[Path]:
    """A file to write, put at a path once it is whole; where the path exists already, that one stays."""
    temporary = _beside(path)
    try:
        yield temporary
        _sync(temporary)
        _link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _link(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except (FileExistsError, FileNotFoundError):
        if not path.exists():  # somebody else sealed, and tidied up after us
            raise


def replace(path: Path, data: bytes) -> None:
    """Put data at a path whole or not at all, in place of what was there."""
    temporary = _beside(path)
    temporary.write_bytes(data)
    temporary.replace(path)


def _beside(path: Path) -> Path:
    """A name of our own in the same folder; the file made there gets the user's permissions."""
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")


def _flush(folder: Path) -> None:
    """Force files to disk, so that a power cut after the rename cannot leave empty ones."""
    for path in folder.rglob("*"):
        if path.is_file():
            _sync(path)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _is_torn(path: Path) -> bool:
    if not path.exists() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _whole_lines(path: Path) -> Iterator[Any]:
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            yield json.loads(line)


def _for_arrow(values: dict[str, Any]) -> dict[str, Any]:
    """Maps as lists of pairs, which is how Arrow takes them."""
    return {
        k: list(v.items()) if isinstance(v, dict) and k == "parts" else v for k, v in values.items()
    }
