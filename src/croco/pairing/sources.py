"""Files of scored responses, JSON Lines or Parquet: facts about every response, and rows by their place.

A file is read once from its beginning for facts, by Arrow, a block at a time; the few rows that are
needed whole are read again by their place. A block that Arrow cannot read as a whole is read line by
line, so that a bad line costs itself alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq

from croco.arrays import Ints
from croco.errors import DataError
from croco.pairing.inputs import FORM, canonical

BLOCK = 8 * 2**20
SUFFIXES = (".jsonl", ".json", ".ndjson", ".parquet")


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a file in the columns of `FORM`, with their lines (or rows) from 0, and offsets.

    Lines are counted from the first of these rows, of which `lines` were read, in `size` bytes.
    `refused` are lines that could not be read, with the reason.
    """

    table: pa.Table
    line: Ints
    offset: Ints
    refused: list[tuple[int, str]]
    lines: int
    size: int


class Source(Protocol):
    """A file of responses."""

    path: Path

    def blocks(self) -> Iterator[Any]:
        """Functions that each give the next `Rows`; they may be called in any thread."""
        ...

    def fetch(self, offsets: Sequence[int]) -> list[dict[str, Any]]:
        """Whole rows by their offsets."""
        ...


def open_source(path: Path) -> Source:
    """The file as a source; DataError where it is of no kind that is known or cannot be read."""
    if path.suffix not in SUFFIXES:
        raise DataError(f"{path}: give a file that ends in .jsonl or .parquet")
    try:
        path.stat()
        return ParquetRows(path) if path.suffix == ".parquet" else JsonLines(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{path} is not a whole Parquet file ({error}): write it again or leave it out"
        ) from error


class JsonLines:
    """A file with one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._form = self._sniff()

    def blocks(self) -> Iterator[partial[Rows]]:
        """Pieces of some megabytes that end at a line's end."""
        offset, size = 0, BLOCK
        with self.path.open("rb", buffering=0) as file:
            while block := os.pread(file.fileno(), size, offset):
                end = block.rfind(b"\n") + 1 if len(block) == size else len(block)
                size = BLOCK if end else 2 * size  # a line longer than a block
                if end:
                    yield partial(self._rows, block, end, offset)
                    offset += end

    def fetch(self, offsets: Sequence[int]) -> list[dict[str, Any]]:
        """The objects of the lines that start at some offsets."""
        with self.path.open("rb") as file:  # not mapped: a map's pages count as memory in use
            return [json.loads(_line_at(file, offset).decode("utf-8-sig")) for offset in offsets]

    def _sniff(self) -> pa.Schema:
        """The types to read by: as `FORM`, but numbers where the first ids are numbers."""
        with self.path.open("rb") as file:
            first = file.readline()
        try:
            number = isinstance(json.loads(first)["id"], int)
        except (ValueError, KeyError, TypeError):
            number = False
        return pa.schema([*(FORM | ({"id": pa.int64()} if number else {})).items()])

    def _rows(self, block: bytes, end: int, offset: int) -> Rows:
        """The rows of a block up to its end."""
        if offset == 0 and block.startswith(b"\xef\xbb\xbf"):
            block = b"   " + block[3:]  # a byte-order mark
        ends = np.array([*_line_ends(block, end)], dtype=np.int64)
        starts = np.append(0, ends[:-1] + 1)
        filled = np.flatnonzero(ends - starts > 1)  # a carriage return alone is no row
        try:
            table = self._fast(memoryview(block)[:end])
        except (pa.ArrowException, UnicodeDecodeError):
            table = None
        if table is not None and table.num_rows == len(filled):
            return Rows(table, filled, offset + starts[filled], [], len(ends), end)
        return _line_by_line(block, offset, starts, ends)

    def _fast(self, block: memoryview) -> pa.Table:
        table = pj.read_json(
            pa.BufferReader(block),
            pj.ReadOptions(use_threads=False, block_size=len(block) + 1),
            pj.ParseOptions(explicit_schema=self._form, unexpected_field_behavior="ignore"),
        )
        table.validate(full=True)  # Arrow does not look at the encoding before
        form = pa.schema([*FORM.items()])
        return table if table.schema.equals(form) else table.cast(form)


def _line_ends(block: bytes, end: int) -> Iterator[int]:
    """Where lines end; the last one may end with the block."""
    start = 0
    while (at := block.find(b"\n", start, end)) >= 0:
        yield at
        start = at + 1
    if start < end:
        yield end


def _line_at(file: BinaryIO, offset: int) -> bytes:
    file.seek(offset)
    return file.readline()


def _line_by_line(block: bytes, offset: int, starts: Ints, ends: Ints) -> Rows:
    rows: list[dict[str, Any]] = []
    kept: list[int] = []
    refused: list[tuple[int, str]] = []
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        text = block[start:end].strip()
        if not text:
            continue
        try:
            rows.append(canonical(json.loads(text)))
            kept.append(k)
        except UnicodeDecodeError:
            refused.append((k, "not a line of UTF-8"))
        except json.JSONDecodeError as error:
            refused.append((k, f"not a line of JSON ({error.msg})"))
        except (ValueError, RecursionError) as error:
            refused.append((k, str(error)))
    table = pa.Table.from_pylist(rows, schema=pa.schema([*FORM.items()]))
    places = np.array(kept, dtype=np.int64)
    return Rows(table, places, offset + starts[places], refused, len(ends), int(ends[-1]))


class ParquetRows:
    """A Parquet file; a row's offset is its number from 0."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with pq.ParquetFile(path) as file:
            self._columns = [name for name in FORM if name in file.schema_arrow.names]
            sizes = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
        self._starts = np.cumsum([0, *sizes])
        self._size = path.stat().st_size // max(1, sum(sizes))

    def blocks(self) -> Iterator[partial[Rows]]:
        """Row groups, in pieces."""
        with pq.ParquetFile(self.path) as file:
            start = 0
            for batch in file.iter_batches(batch_size=8192, columns=self._columns):
                yield partial(self._rows, batch, start)
                start += batch.num_rows

    def fetch(self, offsets: Sequence[int]) -> list[dict[str, Any]]:
        """The rows of some numbers, each row group that has one read once."""
        wanted = np.asarray(offsets, dtype=np.int64)
        group = np.searchsorted(self._starts, wanted, side="right") - 1
        found: dict[int, dict[str, Any]] = {}
        with pq.ParquetFile(self.path) as file:
            for k in np.unique(group):
                own = np.unique(wanted[group == k])
                rows = file.read_row_group(int(k)).take(pa.array(own - self._starts[k])).to_pylist()
                found |= dict(zip(own.tolist(), rows, strict=True))
        return [found[int(offset)] for offset in wanted]

    def _rows(self, batch: pa.RecordBatch, start: int) -> Rows:
        columns = {name: self._column(batch, name) for name in FORM}
        rows = np.arange(batch.num_rows)
        size = self._size * batch.num_rows
        return Rows(pa.table(columns), rows, start + rows, [], batch.num_rows, size)

    def _column(self, batch: pa.RecordBatch, name: str) -> pa.Array:
        if name not in batch.schema.names:
            return pa.nulls(batch.num_rows, FORM[name])
        column = batch[name]
        try:
            if name == "prompt" and pa.types.is_list(column.type):
                column = pa.array(["" if row.is_valid else None for row in column], pa.string())
            return column.cast(FORM[name])
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            return self._converted(column, name, error)

    def _converted(self, column: pa.Array, name: str, error: Exception) -> pa.Array:
        """A column of another type, a value at a time; DataError where that cannot be."""
        values = [_known(name, value) for value in column.to_pylist()]
        try:
            return pa.array(values, FORM[name])
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            raise DataError(
                f"{self.path}: column {name!r} is {column.type}, not {FORM[name]}: convert it"
            ) from error


def _known(name: str, value: Any) -> Any:
    """A value as `FORM` has it, or none: it is then refused as missing."""
    try:
        return canonical({name: value})[name]
    except ValueError:
        return None
