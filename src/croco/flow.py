"""Many things at a time: coroutines over a stream of items, results as they are ready."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Flow:
    """An event loop of one's own, driven by whoever takes the results; `close` ends what is under way."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def run(
        self, work: Callable[[Item], Awaitable[Result]], items: Iterable[Item], limit: int
    ) -> Iterator[list[Result]]:
        """The results of `work` for all items, in the order in which they are done, some at a time.

        At most `limit` are under way, and an item is taken only when there is room for it. An exception
        of `work` ends the flow, after what was done along with it has been given.
        """
        stream = iter(items)
        pending: set[asyncio.Task[Result]] = set()
        try:
            while True:
                while len(pending) < limit and (item := next(stream, _END)) is not _END:
                    pending.add(self._loop.create_task(_awaited(work, item)))
                if not pending:
                    return
                waiting = asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                done, pending = self._loop.run_until_complete(waiting)
                failed = [error for task in done if (error := task.exception())]
                good = [task.result() for task in done if not task.exception()]
                if good:
                    yield good
                if failed:
                    raise failed[0]
        finally:
            self._cancel(pending)

    def once(self, work: Awaitable[Result]) -> Result:
        """The result of one coroutine."""
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        """Stop the loop for good."""
        if not self._loop.is_closed():
            self._cancel(asyncio.all_tasks(self._loop))
            self._loop.close()

    def _cancel(self, tasks: set[asyncio.Task[Any]]) -> None:
        for task in tasks:
            task.cancel()
        if tasks and not self._loop.is_closed():
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


_END: Any = object()


async def _awaited(work: Callable[[Item], Awaitable[Result]], item: Item) -> Result:
    return await work(item)
