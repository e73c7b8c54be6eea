"""Who works on which shard, where nobody hands shards out: a file per shard, made by the first to want it.

A claim keeps workers from doing the same; it guards nothing. What two do nevertheless is sealed once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from croco.sealing import replace, write_once

#: Stands behind the name of who tried a shard and had to leave rows of it owed.
TRIED = " tried"


class Claims:
    """The claims on a stage's shards; `gone` says which of some workers work no longer."""

    def __init__(
        self, root: Path, worker: str, gone: Callable[[Collection[str]], set[str]]
    ) -> None:
        self.folder, self.worker, self.gone = root / "claims", worker, gone

    def owner(self, shard: int) -> str:
        """Who claimed a shard last, with `TRIED` where that one is through with it; empty: nobody."""
        with contextlib.suppress(FileNotFoundError):
            return self._path(shard).read_text()
        return ""

    def take(self, shards: Iterable[int]) -> Iterator[int]:
        """The first of the shards that is free or was a worker's that is gone, now this one's; or none."""
        wanted = list(shards)
        self.folder.mkdir(parents=True, exist_ok=True)
        claimed = {path.name for path in self.folder.iterdir()}
        for shard in wanted:
            if self._path(shard).name not in claimed:
                write_once(self._path(shard), self.worker.encode())
                if self.owner(shard) == self.worker:
                    yield shard
                    return
        owners = {shard: self.owner(shard) for shard in wanted}
        others = {one for one in owners.values() if not one.endswith(TRIED)} - {self.worker}
        free = self.gone(others) | {self.worker, ""} if wanted else set()
        for shard, owner in owners.items():
            if owner in free:
                replace(self._path(shard), self.worker.encode())
                yield shard
                return

    def tried(self, shard: int) -> None:
        """This worker is through with a shard, whatever it left owed: nobody need try it again now."""
        replace(self._path(shard), (self.worker + TRIED).encode())

    def drop(self, shards: Iterable[int]) -> None:
        """Forget who tried these shards, or began them and is gone, so that they are tried anew."""
        owners = {shard: self.owner(shard) for shard in shards}
        working = {one for one in owners.values() if one and not one.endswith(TRIED)}
        gone = self.gone(working)
        for shard, owner in owners.items():
            if owner and owner not in working - gone:
                self._path(shard).unlink(missing_ok=True)

    def _path(self, shard: int) -> Path:
        return self.folder / f"{shard:05d}"
