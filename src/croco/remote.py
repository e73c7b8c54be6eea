"""Input files that lie elsewhere, on object storage or the web: fsspec reads them, a copy is kept here."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from croco.errors import RecipeError
from croco.sealing import published


@lru_cache(maxsize=256)
def fetched(url: str) -> Path:
    """A local copy of the file at an address, made anew when the file there has changed.

    RecipeError where it cannot be read.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache) / "croco" / "files"
    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(url)
        key = hashlib.sha256(f"{url}\0{system.ukey(path)}".encode()).hexdigest()[:16]
        copy = folder / f"{key}{Path(path).suffix}"
        if not copy.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with published(copy) as temporary:
                system.get_file(path, str(temporary))
    except Exception as error:  # every file system has errors of its own
        words = str(error).splitlines() or [type(error).__name__]
        raise RecipeError(
            f"data file {url!r} cannot be read ({words[0]}): check the address, and that what fsspec needs"
            " for such addresses is installed"
        ) from error
    return copy
