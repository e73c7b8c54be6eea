"""Files put in place whole or not at all, by many processes on many hosts at once, without locks."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO

#: What a file system says that has no hard links.
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
#: Seconds that somebody else has between taking a place and filling it.
PATIENCE = 5.0


def write_once(path: Path, data: bytes) -> None:
    """Put data at a path whole or not at all; where the path exists already, it stays as it is."""
    with published(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def published(path: Path) -> Iterator[Path]:
    """A file to write, put at a path once it is whole; where the path exists already, that one stays."""
    temporary = beside(path)
    try:
        yield temporary
        _sync(temporary)
        _link(temporary, path)
    except FileNotFoundError:
        if not path.exists():  # else somebody was first, and tidied up after us
            raise
    finally:
        temporary.unlink(missing_ok=True)


def _link(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        _move(temporary, path)


def _move(temporary: Path, path: Path) -> None:
    """As `_link`, on a file system without hard links: who creates the mark first, moves.

    One that created it and was killed is waited for a moment; what is moved is whole in any case.
    """
    try:
        os.close(os.open(path.with_name(f".{path.name}.taken"), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        end = time.monotonic() + PATIENCE
        while not path.exists() and time.monotonic() < end:
            time.sleep(0.05)
    if not path.exists():
        temporary.replace(path)


def replace(path: Path, data: bytes) -> None:
    """Put data at a path whole or not at all, in place of what was there."""
    temporary = beside(path)
    temporary.write_bytes(data)
    temporary.replace(path)


def beside(path: Path) -> Path:
    """A name of our own in the same folder; the file made there gets the user's permissions."""
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")


@cache
def _token(pid: int) -> str:
    host = "".join(c for c in socket.gethostname() if c.isalnum() or c in "-_")
    return f"{host[:40]}-{pid}-{secrets.token_hex(4)}"


def writer() -> str:
    """A name for this process that no other has, on any host."""
    return _token(os.getpid())


@contextlib.contextmanager
def appended(path: Path) -> Iterator[BinaryIO]:
    """A file to append to; its folder is made, even where somebody who is done takes it away."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("ab")
            break
        except FileNotFoundError:
            continue
    with file:
        yield file


def flush(folder: Path) -> None:
    """Force files to disk, so that a power cut after the rename cannot leave empty ones."""
    for path in folder.rglob("*"):
        if path.is_file():
            _sync(path)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
