"""Row work: the owed batches of some shards through one stage function, journalled, and sealed."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from croco.errors import OwedError, StageError
from croco.journal import Journal
from croco.pace import Clock
from croco.records import MULTIPLE, Failure, Key, Keyed
from croco.settings import Price
from croco.stage import Batch, Context, Item, Stage, shard_of
from croco.store import Artifact, Store

#: A stage stops early when more rows failed in one go, and more than may: the cause is not in the rows.
FAILURES_BEFORE_STOP = 100

#: Told of a stage's progress: its name, units done, units in all, and a word on the state of things.
Notify = Callable[[str, int, int, str], None]


def raise_if_owed(stage: Stage, artifact: Artifact) -> None:
    """OwedError that counts the rows a stage still owes and tells the first one's error."""
    owed = artifact.owed()
    failed = [failure for shard in owed for failure in artifact.failed(shard)]
    if failed:
        first = failed[0]
        raise OwedError(
            f"stage {stage.name!r}: {len(failed)} rows failed and stay owed, the others are kept"
            f" (first: {first.id} {first.lang}: {first.error}): mend the cause and run again,"
            " or raise allow_failed to go on without them"
        )
    if owed:
        raise StageError(f"stage {stage.name!r}: {len(owed)} shards are still owed: run again")


class RowWork:
    """Feeds the owed batches of some shards through one stage function, and seals what is whole."""

    def __init__(
        self,
        stage: Stage,
        store: Store,
        context: Context,
        earlier: Artifact | None,
        notify: Notify,
    ) -> None:
        self.stage = stage
        self.store = store
        self.context = context
        self.artifact = store.artifact(stage)
        self.earlier = earlier
        self.notify = notify
        self.clock = Clock(self.artifact.root, stage.resources.gpus or 1)
        self.journals: dict[int, Journal] = {}
        self.sizes: dict[int, int] = {}
        self.left: dict[int, set[Key]] = {}
        self.failures = 0

    def do(self, shards: Sequence[int]) -> None:
        """Seal these shards, or leave what failed owed; what the stage function loads may be kept."""
        self.clock.start()
        server = self.stage.resources.server
        total = sum(self.store.artifact(self._first).count(shard) for shard in shards)
        self.rate = _Rate(total, server.price if server else None)
        results: Iterator[list[Any]] = self.stage.function(  # type: ignore[call-arg, assignment]
            self.stage.config, self.context, self._batches(shards)
        )
        for outcomes in results:
            self._keep(outcomes)
        for shard in [s for s in shards if self.left.get(s) == set()]:
            self._seal(shard)
        self.notify(self.stage.name, *self.rate.end())
        self.clock.stop()
        self.artifact.tidy()

    @property
    def _first(self) -> Stage:
        return next(iter(self.stage.inputs.values()))

    def _batches(self, shards: Sequence[int]) -> Iterator[Batch]:
        """The owed part of every batch. Batches are cut from all rows, owed or not, so that a run
        that was interrupted gives the engine the same ones as a run that was not."""
        for shard in shards:
            items = _items(self.stage, self.store, self.earlier, shard)
            journal = self.journals[shard] = self.artifact.journal(shard)
            size = self.stage.resources.batch_size
            cut = [items[start : start + size] for start in range(0, len(items), size)]
            owed = [[item for item in batch if item.key not in journal.rows] for batch in cut]
            owed = [batch for batch in owed if batch]
            self.sizes[shard] = len(items)
            self.left[shard] = {item.key for batch in owed for item in batch}
            self.rate.earlier |= {i.key: i.earlier for b in owed for i in b if i.earlier}
            self.rate.skip(len(journal.rows))
            yield from owed

    def _keep(self, outcomes: list[Any]) -> None:
        """Journal outcomes, in whatever order they come; a shard that lacks none is sealed."""
        by_shard: defaultdict[int, list[Any]] = defaultdict(list)
        for outcome in outcomes:
            by_shard[shard_of(outcome.id, self.stage.shards)].append(outcome)
        for shard, own in by_shard.items():
            left, keys = self.left.get(shard, set()), {outcome.key for outcome in own}
            if len(keys) < len(own) or not keys <= left:
                raise StageError(
                    f"stage {self.stage.name!r} answered with other keys than it was given"
                )
            if not self.artifact.path(shard).exists():  # else somebody else was faster
                self.journals[shard].append(own)
            left -= keys
            self.failures += sum(isinstance(outcome, Failure) for outcome in own)
            tokens = self.rate.made(own, tokens_of)
            size = self.sizes[shard]
            self.clock.add(shard, size - len(left), size, len(own), tokens)
        self.notify(self.stage.name, *self.rate.add(outcomes))
        for shard in by_shard:
            if not self.left[shard]:
                self._seal(shard)
        if self.failures > max(FAILURES_BEFORE_STOP, self.stage.allow_failed * self.rate.total):
            raise_if_owed(self.stage, self.artifact)

    def _seal(self, shard: int) -> None:
        """Seal a shard whose rows are all made, or all but as many as may be missing."""
        journal = self.journals.pop(shard)
        del self.left[shard]
        if self.artifact.path(shard).exists():
            return
        failed = journal.failed
        if len(failed) <= self.stage.allow_failed * self.sizes[shard]:
            rows = sorted(journal.rows.values(), key=order)
            self.artifact.seal(shard, rows, failed)


class _Rate:
    """Rows done of all, tokens per second where rows have tokens, and what a server counted."""

    def __init__(self, total: int, price: Price | None) -> None:
        self.total, self.done, self.tokens = total, 0, 0
        self.price, self.prompt_tokens, self.completion_tokens = price, 0, 0
        #: By key, what rows are grown from: its tokens are not made again.
        self.earlier: dict[Key, Any] = {}
        self.start = time.monotonic()

    def skip(self, rows: int) -> None:
        self.done += rows

    def end(self) -> tuple[int, int, str]:
        """All is tried: where a unit is a prompt, fewer units than rows were there to do."""
        self.total = self.done
        return self.add([])

    def add(self, outcomes: Sequence[Any]) -> tuple[int, int, str]:
        self.done += len(outcomes)
        self.tokens += self.made(outcomes, tokens_of)
        self.prompt_tokens += self.made(outcomes, lambda row: getattr(row, "prompt_tokens", 0))
        self.completion_tokens += self.made(
            outcomes, lambda row: getattr(row, "completion_tokens", 0)
        )
        return self.done, self.total, ", ".join(self._words())

    def made(self, outcomes: Sequence[Any], count: Callable[[Any], int]) -> int:
        """How much of something some rows have more than what they are grown from."""
        rows = (row for row in outcomes if not isinstance(row, Failure))
        return sum(max(0, count(row) - count(self.earlier.get(row.key))) for row in rows)

    def _words(self) -> Iterator[str]:
        seconds = max(time.monotonic() - self.start, 1e-9)
        tokens = self.tokens or self.completion_tokens
        if tokens:
            yield f"{tokens / seconds:.0f} tok/s"
        if self.prompt_tokens:
            counted = f"{self.prompt_tokens} + {self.completion_tokens} tokens"
            yield counted + (f" for ${self._cost(self.price):.4f}" if self.price else "")

    def _cost(self, price: Price) -> float:
        return (self.prompt_tokens * price.prompt + self.completion_tokens * price.completion) / 1e6


def tokens_of(row: Any) -> int:
    """The tokens of a row's answers, where it has any."""
    return sum(map(len, getattr(row, "token_ids", ())))


def _items(stage: Stage, store: Store, earlier: Artifact | None, shard: int) -> list[Item]:
    """The shard's units of work in key order: each key that all keyed inputs have, with their rows."""
    tables = {
        name: {row.key: row for row in store.artifact(source).read(shard)}
        for name, source in stage.inputs.items()
        if issubclass(source.record, Keyed) and name not in stage.aside
    }
    keys = sorted(set.intersection(*(set(table) for table in tables.values())))
    if stage.unit == "row":
        begun = {row.key: row for row in earlier.known(shard)} if earlier else {}
        return [
            Item(key, {name: table[key] for name, table in tables.items()}, begun.get(key))
            for key in keys
        ]
    grouped = {id: list(own) for id, own in groupby(keys, key=lambda key: key[0])}
    return [
        Item((id, MULTIPLE), {name: [table[key] for key in own] for name, table in tables.items()})
        for id, own in grouped.items()
    ]


def order(row: Any) -> Any:
    """What a shard's rows are sorted by."""
    return row.key
