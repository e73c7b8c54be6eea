"""What `croco pair` writes: pairs as TRL takes them, what was left out and why, and a summary.

Everything is written beside and moved into the folder at the end, in place of what an earlier `croco
pair` left there; other files in the folder stay as they are.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
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
from croco.languages import checked_tag

Format = Literal["jsonl", "parquet"]

#: The names that are always written, and those of tables: of all languages, or of the one they name.
ALWAYS = ("pools.parquet", "filtered.jsonl", "refused.jsonl", "unmatched.jsonl", "summary.json")
_TABLE = re.compile(r"(pairs|sft)(?:-(.+))?\.(?:jsonl|parquet)")
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
            file = path.open("w", encoding="utf-8", errors="replace")  # half a character is "?"
            self._open[name] = self._files.enter_context(file)
        self._open[name].write(_line(row))

    def close(self) -> None:
        """Nothing more comes: bring the files into their format."""
        self._files.close()
        if self.form == "parquet":
            for name in self._open:
                _as_parquet(self.folder / f"{name}.jsonl")


_JSON = json.JSONEncoder(ensure_ascii=False, default=str, allow_nan=False)


def _line(row: dict[str, Any]) -> str:
    try:
        return _JSON.encode(row) + "\n"
    except ValueError:  # JSON has no number for what is not one
        return _JSON.encode(_finite(row)) + "\n"


def _finite(value: Any) -> Any:
    """The value with null for every NaN and infinity in it."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _as_parquet(path: Path) -> None:
    """Rows in JSON Lines as Parquet; a column takes the type that holds all its values."""
    try:
        form = pa.unify_schemas(
            [_table(rows).schema for rows in _chunks(path)],
            promote_options="permissive",
        )
        with pq.ParquetWriter(path.with_suffix(".parquet"), form) as writer:
            for rows in _chunks(path):
                writer.write_table(pa.Table.from_pylist(rows, schema=form))
    except (pa.ArrowException, OverflowError) as error:
        raise DataError(
            f"a column that is carried along does not fit into one type ({error}): write jsonl"
        ) from error
    path.unlink()


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    """The rows with the columns of all of them: Arrow looks at the first one's alone."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def _chunks(path: Path) -> Iterator[list[dict[str, Any]]]:
    with path.open(encoding="utf-8") as lines:
        rows = map(json.loads, lines)
        while chunk := list(islice(rows, CHUNK)):
            yield chunk


def tables_in(folder: Path, *names: str) -> list[Path]:
    """The tables of some names (`pairs`, `sft`) that a folder holds, sorted."""
    return sorted(path for path in folder.iterdir() if _table_of(path) in names)


def is_written(path: Path) -> bool:
    """Whether a file bears a name that is written, and so may be replaced."""
    return path.name in ALWAYS or _table_of(path) is not None


def _table_of(path: Path) -> str | None:
    match = _TABLE.fullmatch(path.name)
    if match and match[2]:
        try:
            checked_tag(match[2])
        except ValueError:
            return None
    return match[1] if match else None


@contextlib.contextmanager
def folder_for(out: Path) -> Iterator[Path]:
    """A folder to write in; its files are in `out` when all went well, and nowhere otherwise."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file: name a folder to write pairs to")
    new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".pair-", dir=out))
    except OSError as error:
        raise DataError(f"{out} cannot be written to: {error.strerror}") from error
    try:
        yield work
        for old in filter(is_written, list(out.iterdir())):
            old.unlink()
        for path in work.iterdir():
            if path.is_file():
                path.replace(out / path.name)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if new:
            with contextlib.suppress(OSError):  # it holds pairs
                out.rmdir()
