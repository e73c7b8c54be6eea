"""One of several processes that train together: `python -m croco.training.worker FOLDER`."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from croco.errors import CrocoError, EngineError
from croco.training.launch import COUNT, ERROR, read_job
from croco.training.preference import train_here


def main(folder: Path) -> int:
    """Train a job's folder with the other processes; the first one speaks for all."""
    job, place = read_job(folder)
    first = os.environ.get("RANK", "0") == "0"
    if not first:
        place = replace(place, progress=lambda done, total, text: None)
    try:
        _check(folder)
        train_here(job, place)
    except CrocoError as error:
        (folder / ERROR).write_text(
            json.dumps({"kind": type(error).__name__, "message": str(error)}), encoding="utf-8"
        )
        return error.exit_code
    if first:
        (folder / "done").touch()
    return 0


def _check(folder: Path) -> None:
    """EngineError unless as many processes run as were asked for."""
    wanted, found = (folder / COUNT).read_text(encoding="utf-8"), os.environ.get("WORLD_SIZE", "1")
    if wanted != found:
        raise EngineError(
            f"{found} processes were started to train and not {wanted}: look at"
            " resources.train.processes and the config file for accelerate"
        )


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    # One process that failed must not wait for the others at exit, nor they for it.
    os._exit(code)
