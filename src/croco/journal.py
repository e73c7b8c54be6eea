"""What is made of a shard before it is sealed: JSON lines, one per finished batch."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from croco.records import Failure, Key
from croco.schemas import decode, encode
from croco.sealing import appended, writer


class Journal:
    """The finished batches of one shard in work, by whomever; appended to is a file of this process."""

    def __init__(self, folder: Path, shard: int, record: type[Any]) -> None:
        self._folder, self._shard = folder, f"{shard:05d}"
        self.path = folder / f"{self._shard}.{writer()}.jsonl"
        self.rows: dict[Key, Any] = {}
        self._failures: dict[Key, Failure] = {}
        for path in self._files():
            for batch in whole_lines(path):
                self._take([decode(record, row) for row in batch["rows"]], batch["failures"])

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"{self._shard}.*jsonl"))

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
        with appended(self.path) as file:
            # A torn line of a killed process is closed first, so that it can never join this one.
            file.write(
                b"\n" + line.encode() + b"\n" if _is_torn(self.path) else line.encode() + b"\n"
            )
            file.flush()
            os.fsync(file.fileno())
        self._take(rows, failures)

    def remove(self) -> None:
        """Forget the journal, everybody's, once its shard is sealed."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def _take(self, rows: Sequence[Any], failures: Sequence[dict[str, Any]]) -> None:
        for row in rows:
            self.rows.setdefault(row.key, row)
        for failure in failures:
            one: Failure = decode(Failure, failure)
            self._failures[one.key] = one


def _is_torn(path: Path) -> bool:
    if not path.exists() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def whole_lines(path: Path) -> Iterator[Any]:
    """The JSON values of a file's lines; one that is torn or blank is passed over."""
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            yield json.loads(line)
