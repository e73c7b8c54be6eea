"""What to do when a device's memory is full: halve the batches, once, and say so."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from croco.errors import StopError

Row = TypeVar("Row")
log = logging.getLogger("croco")


class Halving:
    """Does work on batches; from the first time that memory runs out, on halves of them."""

    def __init__(self, remedy: str) -> None:
        self.remedy = remedy
        self.halved = False

    def __call__(
        self, work: Callable[[Sequence[Row]], list[Any]], rows: Sequence[Row]
    ) -> list[Any]:
        """`work`'s results for all rows; StopError with the remedy where halves are too big as well."""
        import torch

        try:
            if not self.halved:
                return work(rows)
        except torch.OutOfMemoryError as error:
            if len(rows) < 2:
                raise self._full(error) from error
            self.halved = True
            log.warning("the device's memory is full: going on with batches half as big")
        # Outside of the handler: the error would hold on to what the failed batch had allocated.
        torch.cuda.empty_cache()
        half = (len(rows) + 1) // 2
        try:
            return [one for part in (rows[:half], rows[half:]) if part for one in work(part)]
        except torch.OutOfMemoryError as error:
            raise self._full(error) from error

    def _full(self, error: Exception) -> StopError:
        return StopError(
            f"the device's memory is full ({str(error).splitlines()[0]}): {self.remedy}"
        )
