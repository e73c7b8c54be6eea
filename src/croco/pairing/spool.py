"""Facts of all files, parted by prompt on disk: of data of any size one part is in memory at a time."""

from __future__ import annotations

import os
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from croco.arrays import Ints
from croco.pairing.facts import MINIMA, Facts, answers_in, text_facts
from croco.pairing.inputs import Flat, flat
from croco.pairing.sources import Rows, Source
from croco.reasoning import KNOWN, Markers
from croco.recipe import Filters

#: Bytes of input that one part is made of.
PART_BYTES = 512 * 2**20

FACTS = pa.schema(
    {
        "id": pa.string(),
        "lang": pa.string(),
        "policy": pa.string(),
        "reward": pa.float64(),
        "mark": pa.int64(),
        "length": pa.int64(),
        "cut_off": pa.bool_(),
        "empty": pa.bool_(),
        "share": pa.float64(),
        "untold": pa.bool_(),
        "signature": pa.binary(2 * MINIMA),
        "asked": pa.int64(),
        "file": pa.int64(),
        "line": pa.int64(),
        "offset": pa.int64(),
        "item": pa.int64(),
    }
)
#: The reason of a row that is not even a row.
UNREADABLE = "unreadable"
#: Told how far reading is: bytes done.
Told = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Places:
    """Where responses are: file, line from 1, offset and item of a list; and their prompt's digest."""

    file: Ints
    line: Ints
    offset: Ints
    item: Ints
    asked: Ints

    def take(self, rows: Ints) -> Places:
        """The places of some responses."""
        columns = (getattr(self, name)[rows] for name in Places.__slots__)
        return Places(*columns)


class Spool:
    """The parts of some files, in a folder of their own; a prompt and its responses are in one part.

    `reasoning` counts the responses from which some was separated, and those in which it does not end.
    """

    def __init__(
        self,
        folder: Path,
        sources: Sequence[Source],
        filters: Filters,
        markers: Markers = KNOWN,
    ) -> None:
        self.folder = folder
        self.sources = sources
        self.filters = filters
        self.markers = markers
        self.reasoning: Counter[str] = Counter(separated=0, unclosed=0)
        self.bytes = sum(source.path.stat().st_size for source in sources)
        self.count = 1 + self.bytes // PART_BYTES

    def part_of(self, id: str) -> int:
        """The part of a prompt."""
        return zlib.crc32(id.encode()) % self.count

    def fill(self, default_lang: str | None, told: Told) -> Iterator[dict[str, Any]]:
        """Read all files once, on all cores; what cannot be used is given as it is met."""
        writers = [pa.ipc.new_file(str(self._path(k)), FACTS) for k in range(self.count)]
        work = (
            _Block(self, k, read, default_lang)
            for k, source in enumerate(self.sources)
            for read in source.blocks()
        )
        lines = [1] * len(self.sources)
        done = 0
        try:
            for block, read in _in_threads(work):
                for part, piece in read.pieces.items():
                    writers[part].write_table(_on_lines(piece, lines[block.file]))
                for row in read.refused:
                    yield row | {"line": row["line"] + lines[block.file]}
                self.reasoning.update(read.reasoning)
                lines[block.file] += read.lines
                told(done := done + read.size)
        finally:
            for writer in writers:
                writer.close()

    def part(self, k: int) -> tuple[Facts, Places]:
        """The responses of a part, and where they are."""
        with pa.memory_map(str(self._path(k))) as file:
            table = pa.ipc.open_file(file).read_all()
            (ids, prompt), (langs, lang), (writers, writer) = (
                _coded(table[name]) for name in ("id", "lang", "policy")
            )
            column = {name: _numbers(table[name]) for name in FACTS.names[3:10]}
            facts = Facts(
                ids=ids,
                langs=langs,
                writers=writers,
                prompt=prompt,
                lang=lang,
                writer=writer,
                special=np.zeros(len(prompt), bool),  # files hold texts
                signature=_signature(table["signature"]),
                **column,
            )
            where = ("file", "line", "offset", "item", "asked")
            return facts, Places(*(_numbers(table[name]) for name in where))

    def fetch(self, places: Places) -> list[dict[str, Any]]:
        """The files' whole rows of some responses."""
        found: list[dict[str, Any]] = [{}] * len(places.file)
        for k, source in enumerate(self.sources):
            own = np.flatnonzero(places.file == k)
            if own.size:
                rows = source.fetch(places.offset[own].tolist())
                for place, values in zip(own, rows, strict=True):
                    found[place] = values
        return found

    def _path(self, k: int) -> Path:
        return self.folder / f"part-{k}.arrow"


@dataclass(frozen=True, slots=True)
class _Found:
    """A block's facts by part and what was refused, on lines from 0; how many, bytes, and reasoning."""

    pieces: dict[int, pa.Table]
    refused: list[dict[str, Any]]
    lines: int
    size: int
    reasoning: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Block:
    """The work on one block of a file."""

    spool: Spool
    file: int
    read: Callable[[], Rows]
    default_lang: str | None

    def __call__(self) -> tuple[_Block, _Found]:
        rows, path = self.read(), str(self.spool.sources[self.file].path)
        refused = [_refused(path, line, UNREADABLE, why) for line, why in rows.refused]
        if not rows.table.num_rows:
            return self, _Found({}, refused, rows.lines, rows.size)
        found = flat(rows.table, self.default_lang)
        refused += [_refused(path, int(rows.line[k]), why) for k, why in found.refused]
        texts = found.table["response"].combine_chunks()
        answers, separated, unclosed = answers_in(texts, self.spool.markers)
        counts = {"separated": int(separated.sum()), "unclosed": int(unclosed.sum())}
        pieces = self._parted(self._facts(rows, found, answers))
        return self, _Found(pieces, refused, rows.lines, rows.size, counts)

    def _facts(self, rows: Rows, found: Flat, texts: pa.StringArray) -> pa.Table:
        table, filters = found.table, self.spool.filters
        coded = table["lang"].combine_chunks().dictionary_encode()
        read = text_facts(texts, coded.dictionary.to_pylist(), coded.indices.to_numpy(), filters)
        signature: Any = pa.nulls(len(texts), FACTS.field("signature").type)
        if read.signature is not None:
            signature = pa.array([row.tobytes() for row in read.signature], signature.type)
        columns = {
            **{name: table[name] for name in ("id", "lang", "policy", "reward", "asked")},
            "mark": read.mark,
            "length": read.length,
            "cut_off": pc.fill_null(pc.equal(table["finish_reason"], "length"), False),
            "empty": read.empty,
            "share": read.share,
            "untold": read.untold,
            "signature": signature,
            "file": np.full(len(texts), self.file),
            "line": rows.line[found.row],
            "offset": rows.offset[found.row],
            "item": found.item,
        }
        return pa.table([columns[name] for name in FACTS.names], schema=FACTS)

    def _parted(self, facts: pa.Table) -> dict[int, pa.Table]:
        coded = facts["id"].combine_chunks().dictionary_encode()
        parts = np.array([self.spool.part_of(id) for id in coded.dictionary.to_pylist()], np.int64)
        part = parts[coded.indices.to_numpy()]
        return {int(k): facts.filter(pa.array(part == k)) for k in np.unique(part)}


def _on_lines(piece: pa.Table, first: int) -> pa.Table:
    """The piece with the lines of its file."""
    at = FACTS.get_field_index("line")
    return piece.set_column(at, FACTS.field(at), pc.add(piece["line"], first))


def _refused(file: str, line: int, reason: str, detail: str = "") -> dict[str, Any]:
    return {"file": file, "line": line, "reason": reason, "detail": detail}


def _in_threads(work: Iterator[Callable[[], Any]]) -> Iterator[Any]:
    """The results of some work in its order, done on all cores, a few steps ahead."""
    cores = os.cpu_count() or 1
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(cores) as pool:
        for one in work:
            waiting.append(pool.submit(one))
            if len(waiting) > cores:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _coded(column: pa.ChunkedArray) -> tuple[list[str], Ints]:
    """The sorted values of a column, and for each row the place of its own."""
    coded = column.combine_chunks().dictionary_encode()
    names = np.array(coded.dictionary.to_pylist(), dtype=object)
    order = np.argsort(names, kind="stable")
    place = np.argsort(order, kind="stable")
    return names[order].tolist(), place[coded.indices.to_numpy()].astype(np.int64)


def _numbers(column: pa.ChunkedArray) -> Any:
    return column.combine_chunks().to_numpy(zero_copy_only=False)


def _signature(column: pa.ChunkedArray) -> Any:
    if column.null_count:
        return None
    rows = [np.frombuffer(value, np.uint16) for value in column.to_pylist()]
    return np.array(rows, dtype=np.uint16).reshape(len(rows), MINIMA)
