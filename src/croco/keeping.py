"""What a worker has loaded stays for the next shard: models take longer to load than a shard may take."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

Given = ParamSpec("Given")
Loaded = TypeVar("Loaded")

#: By loader, what it was last asked for and what it gave.
_last: dict[str, tuple[Any, Any]] = {}
_on: list[bool] = []


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """In here, what a `keep`ing function gave is given again to whoever asks for the same."""
    _on.append(True)
    try:
        yield
    finally:
        _on.pop()


def forget() -> None:
    """Keep nothing any more."""
    _last.clear()


def keep(load: Callable[Given, Loaded]) -> Callable[Given, Loaded]:
    """A function whose last result is kept, where somebody asked for that."""
    name = f"{load.__module__}.{load.__qualname__}"

    @functools.wraps(load)
    def loaded(*args: Given.args, **kwargs: Given.kwargs) -> Loaded:
        if not _on:
            return load(*args, **kwargs)
        asked = (args, kwargs)
        if name in _last and _last[name][0] == asked:
            found: Loaded = _last[name][1]
            return found
        _last.pop(name, None)  # two models at a time may be too many
        found = load(*args, **kwargs)
        _last[name] = asked, found
        return found

    return loaded
