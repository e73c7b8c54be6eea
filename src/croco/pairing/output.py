"""What `croco pair` writes: pairs as TRL takes them, what was left out and why, and a summary.

Everything is written beside and moved into the folder at the end, in place of what an earlier `croco
pair` left there; other files in the folder stay as they are.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from croco.errors import DataError

Format = Literal["jsonl", "parquet"]

#: The names that a folder of pairs may hold, as patterns.
WRITTEN = [f"{name}*.{form}" for name in ("pairs", "sft") for form in ("jsonl", "parquet")]
WRITTEN += ["pools.parquet", "filtered.jsonl", "refused.jsonl", "unmatched.jsonl", "summary.json"]
#: Rows that become Parquet at a time.
CHUNK = 4096


class Ledger:
    """Rows that were left out: written down as they come, counted by `reason`, the first remembered."""

    def __init__(self, path: Path) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, Any] = {}
        self._file = path.open("w", encoding="utf-8")

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write some down."""
        for row in rows:
            self.counts[row["reason"]] += 1
            self.first = self.first or row
            self._file.write(_line(row))

    def close(self) -> None:
        """Nothing more comes."""
        self._file.close()


class Tables:
    """Files of rows by name, in the wanted format; a file is made when its first row comes."""

    def __init__(self, folder: Path, form: Format) -> None:
        self.folder = folder
        self.form = form
        self._files = contextlib.ExitStack()
        self._open: dict[str, Any] = {}

    def add(self, name: str, row: dict[str, Any]) -> None:
        """Add a row to the file of that name."""
        if name not in self._open:
            path = self.folder / f"{name}.jsonl"
            self._open[name] = self._files.enter_context(path.open("w", encoding="utf-8"))
        self._open[name].write(_line(row))

    def close(self) -> None:
        """Nothing more comes: bring the files into their format."""
        self._files.close()
        if self.form == "parquet":
            for name in self._open:
                _as_parquet(self.folder / f"{name}.jsonl")


_JSON = json.JSONEncoder(ensure_ascii=False, default=str)


def _line(row: dict[str, Any]) -> str:
    return _JSON.encode(row) + "\n"


def _as_parquet(path: Path) -> None:
    """Rows in JSON Lines as Parquet; a column takes the type that holds all its values."""
    try:
        form = pa.unify_schemas(
            [pa.Table.from_pylist(rows).schema for rows in _chunks(path)],
            promote_options="permissive",
        )
        with pq.ParquetWriter(path.with_suffix(".parquet"), form) as writer:
            for rows in _chunks(path):
                writer.write_table(pa.Table.from_pylist(rows, schema=form))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(
            f"a column that is carried along has values of several types ({error}): write jsonl"
        ) from error
    path.unlink()


def _chunks(path: Path) -> Iterator[list[dict[str, Any]]]:
    with path.open(encoding="utf-8") as lines:
        rows = map(json.loads, lines)
        while chunk := list(islice(rows, CHUNK)):
            yield chunk


@contextlib.contextmanager
def folder_for(out: Path) -> Iterator[Path]:
    """A folder to write in; its files are in `out` when all went well, and nowhere otherwise."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file: name a folder to write pairs to")
    out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".pair-", dir=out))
    try:
        yield work
        for pattern in WRITTEN:
            for old in out.glob(pattern):
                old.unlink()
        for path in work.iterdir():
            if path.is_file():
                path.replace(out / path.name)
    finally:
        shutil.rmtree(work, ignore_errors=True)
