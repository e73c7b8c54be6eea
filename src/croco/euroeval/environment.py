"""EuroEval's own Python environment, made once: it pins versions that CroCo's cannot have."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from croco.errors import EngineError
from croco.models import cache_folder
from croco.settings import Environment

log = logging.getLogger("croco")
#: Pythons that EuroEval 17 and its vLLM run on.
PYTHONS = ((3, 12), (3, 13))
#: Lies in an environment that was not made whole.
UNFINISHED = ".croco-unfinished"
EUROEVAL = "euroeval"
#: A package with its version, perhaps with extras.
PIN = re.compile(r"([\w.-]+)(?:\[[\w,-]+\])?==([\w.+!-]+)")


def prepared(
    packages: Sequence[str], where: Environment, say: Callable[[str], None] = lambda _: None
) -> Path:
    """The Python of an environment that has the packages; it is made where it is not there yet.

    Safe to kill and safe in several processes at once. Raises EngineError where it cannot be made, with
    pip's last word, or where a folder that the user names holds another version of EuroEval.
    """
    folder = Path(where.folder).expanduser() if where.folder else _folder(packages, where)
    python = folder.absolute() / "bin" / "python"
    with _lock(folder):
        if not python.exists() or (folder / UNFINISHED).exists():
            _make(folder, packages, where, say)
    _check(python, packages)
    return python


def _folder(packages: Sequence[str], where: Environment) -> Path:
    digest = hashlib.sha256("\0".join([*packages, where.python or ""]).encode()).hexdigest()[:32]
    return cache_folder().parent / "environments" / f"euroeval-{digest}"


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """One process at a time makes an environment: pip cannot build beside and rename, paths are in it."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f".{folder.name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except PermissionError as error:
        raise EngineError(
            f"{folder.parent} cannot be written: name a folder in resources.benchmark.environment.folder"
        ) from error


def _make(
    folder: Path, packages: Sequence[str], where: Environment, say: Callable[[str], None]
) -> None:
    python = _python(where.python)
    if folder.exists() and not (folder / UNFINISHED).exists() and any(folder.iterdir()):
        raise EngineError(
            f"{folder} is no Python environment: name one, or a folder that does not exist yet"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / UNFINISHED).touch()
    say(f"making an environment for {packages[0]}")
    _run([python, "-m", "venv", str(folder)], folder)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    say(f"installing {', '.join(packages)}")
    _run([*pip, "install", "--quiet", *packages], folder)
    (folder / UNFINISHED).unlink()


def _python(named: str | None) -> str:
    """A Python that EuroEval runs on: the one that is named, this one, or one on the path."""
    names = [named] if named else [sys.executable, *(f"python{a}.{b}" for a, b in PYTHONS)]
    for name in names:
        asked = "import sys; print(*sys.version_info[:2])"
        with_it = _said([name, "-c", asked])
        if with_it and tuple(map(int, with_it.split())) in PYTHONS:
            return name
    wanted = " or ".join(f"{a}.{b}" for a, b in PYTHONS)
    what = f"{named!r} is no Python {wanted}" if named else f"no Python {wanted} is here"
    raise EngineError(
        f"{what}, which EuroEval needs: install one, or name it in resources.benchmark.environment.python"
    )


#: Prints the versions of the packages that it is given; nothing for one that is not there.
ASK = """
import importlib.metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def _check(python: Path, packages: Sequence[str]) -> None:
    """EngineError unless the environment has EuroEval in the pinned version; other packages that are not
    what is pinned are warned of, since they decide figures too."""
    wanted = {found[1]: found[2] for one in packages if (found := PIN.fullmatch(one))}
    said = _said([str(python), "-c", ASK, *wanted])
    have = json.loads(said) if said else {}
    version, found = wanted.pop(EUROEVAL), have.get(EUROEVAL)
    if found != version:
        raise EngineError(
            f"{python.parents[1]} has {f'EuroEval {found}' if found else 'no EuroEval'} and the recipe"
            f" pins {version}: install that there, or name another folder"
        )
    # Builds for a device end in the likes of +rocm6.3.
    short = {name: have.get(name, "none").partition("+")[0] for name in wanted}
    other = [name for name, own in wanted.items() if short[name] != own.partition("+")[0]]
    if other:
        told = ", ".join(f"{name} {have.get(name, 'none')}, not {wanted[name]}" for name in other)
        log.warning(
            "%s has %s: figures may differ from those of the pinned packages; install these there, or name"
            " what it has in evaluate.benchmark.packages",
            python.parents[1],
            told,
        )


def _said(command: Sequence[str]) -> str:
    """What a short command prints, or nothing where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = (
            [line for line in lines if line.startswith("ERROR")] or lines or ["it said nothing"]
        )
        raise EngineError(
            f"EuroEval's environment cannot be made in {folder} ({errors[-1]}): mend the cause and run"
            " again, or make it by hand and name it in resources.benchmark.environment.folder"
        )
