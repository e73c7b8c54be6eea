"""Files of scored responses, JSON Lines or Parquet: facts about every response, and rows by their place.

A file is read once from its beginning for facts, by Arrow, a block at a time; the few rows that are
needed whole are read again by their place. A block that Arrow cannot read as a whole is read line by
line, so that a bad line costs itself alone.
"""

from __future__ import annotations

import contextlib
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
from croco.asked import texts_of_turns
from croco.errors import DataError
from croco.pairing.values import FORM, are_whole, canonical

BLOCK = 8 * 2**20
SUFFIXES = (".jsonl", ".json", ".ndjson", ".parquet")
_MARK = b"\xef\xbb\xbf"  # the byte-order mark of UTF-8


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
        try:
            with self.path.open("rb") as file:  # not mapped: a map's pages count as memory in use
                return [json.loads(_line_at(file, offset)) for offset in offsets]
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(
                f"{self.path}: a line that a pair needs cannot be read ({error}): mend it"
            ) from error

    def _sniff(self) -> pa.Schema:
        """The types to read by: as `FORM`, but numbers where the first ids are numbers."""
        with self.path.open("rb") as file:
            first = file.readline()
        try:
            number = isinstance(json.loads(first)["id"], int)
        except (ValueError, KeyError, TypeError, RecursionError):
            number = False
        return pa.schema([*(FORM | ({"id": pa.int64()} if number else {})).items()])

    def _rows(self, block: bytes, end: int, offset: int) -> Rows:
        """The rows of a block up to its end."""
        first = len(_MARK) if offset == 0 and block.startswith(_MARK) else 0
        ends = np.array([*_line_ends(block, end)], dtype=np.int64)
        starts = np.append(first, ends[:-1] + 1)
        filled = np.flatnonzero(ends - starts > 1)  # a carriage return alone is no row
        if _hold_objects(block, starts[filled], ends[filled]):
            with contextlib.suppress(pa.ArrowException):
                table = self._fast(memoryview(block)[first:end])
                if table.num_rows == len(filled) and are_whole(table["messages"]):
                    return Rows(table, filled, offset + starts[filled], [], len(ends), end)
        return _line_by_line(block, offset, starts, ends)

    def _fast(self, block: memoryview) -> pa.Table:
        _check_encoding(block)  # Arrow does not look at it
        table = pj.read_json(
            pa.BufferReader(block),
            pj.ReadOptions(use_threads=False, block_size=len(block) + 1),
            pj.ParseOptions(explicit_schema=self._form, unexpected_field_behavior="ignore"),
        )
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


def _hold_objects(block: bytes, starts: Ints, ends: Ints) -> bool:
    """Whether each line begins and ends as an object does: then none spans lines, whatever they hold."""
    letters = np.frombuffer(block, np.uint8)
    last = ends - 1
    last = last - (letters[last] == ord("\r"))
    return bool((letters[starts] == ord("{")).all() and (letters[last] == ord("}")).all())


def _check_encoding(block: memoryview) -> None:
    """ArrowInvalid where a block is not UTF-8."""
    ends = pa.py_buffer(np.array([0, len(block)], np.int64))
    pa.LargeStringArray.from_buffers(1, ends, pa.py_buffer(block)).validate(full=True)


def _line_at(file: BinaryIO, offset: int) -> str:
    file.seek(offset)
    return file.readline().decode("utf-8-sig")


def _line_by_line(block: bytes, offset: int, starts: Ints, ends: Ints) -> Rows:
    rows: list[dict[str, Any]] = []
    kept: list[int] = []
    refused: list[tuple[int, str]] = []
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        text = block[start:end].strip()
        if not text:
            continue
        try:
            rows.append(canonical(json.loads(text.decode("utf-8-sig"))))
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
        with _whole_file(path), pq.ParquetFile(path) as file:
            self._columns = [name for name in FORM if name in file.schema_arrow.names]
            sizes = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
        self._starts = np.cumsum([0, *sizes])
        self._size = path.stat().st_size // max(1, sum(sizes))

    def blocks(self) -> Iterator[partial[Rows]]:
        """Row groups, in pieces."""
        with _whole_file(self.path), pq.ParquetFile(self.path) as file:
            start = 0
            for batch in file.iter_batches(batch_size=8192, columns=self._columns):
                yield partial(self._rows, batch, start)
                start += batch.num_rows

    def fetch(self, offsets: Sequence[int]) -> list[dict[str, Any]]:
        """The rows of some numbers, each row group that has one read once."""
        wanted = np.asarray(offsets, dtype=np.int64)
        group = np.searchsorted(self._starts, wanted, side="right") - 1
        found: dict[int, dict[str, Any]] = {}
        with _whole_file(self.path), pq.ParquetFile(self.path) as file:
            for k in np.unique(group):
                own = np.unique(wanted[group == k])
                rows = file.read_row_group(int(k)).take(pa.array(own - self._starts[k]))
                found |= dict(zip(own.tolist(), self._values(rows), strict=True))
        return [found[int(offset)] for offset in wanted]

    def _values(self, rows: pa.Table) -> list[dict[str, Any]]:
        """Rows as plain values, what is in `FORM` in its type there, prompts of turns as turns."""
        for name in self._columns:
            column = rows[name].combine_chunks()
            kind = "messages" if name == "prompt" and pa.types.is_nested(column.type) else name
            rows = rows.set_column(rows.column_names.index(name), name, _typed(column, kind))
        return rows.to_pylist()  # type: ignore[no-any-return]

    def _rows(self, batch: pa.RecordBatch, start: int) -> Rows:
        columns = {name: self._column(batch, name) for name in FORM}
        rows = np.arange(batch.num_rows)
        size = self._size * batch.num_rows
        return Rows(pa.table(columns), rows, start + rows, [], batch.num_rows, size)

    def _column(self, batch: pa.RecordBatch, name: str) -> pa.Array:
        if name not in batch.schema.names:
            return pa.nulls(batch.num_rows, FORM[name])
        column = batch[name]
        if name == "prompt" and pa.types.is_nested(column.type):
            return texts_of_turns(_typed(column, "messages"))
        return _typed(column, name)


@contextlib.contextmanager
def _whole_file(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(
            f"{path} is not a whole Parquet file ({error}): write it again or leave it out"
        ) from error


def _typed(column: pa.Array, name: str) -> pa.Array:
    """A column in the type that `FORM` has for a name, a value at a time where Arrow cannot do it."""
    if not pa.types.is_boolean(column.type):  # true is no number
        with contextlib.suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):
            typed = column.cast(FORM[name])
            if name != "messages" or are_whole(typed):
                return typed
    return pa.array([_known(name, value) for value in column.to_pylist()], FORM[name])


def _known(name: str, value: Any) -> Any:
    """A value as `FORM` has it, or none: it is then refused as missing."""
    try:
        return canonical({name: value})[name]
    except ValueError:
        return None
