"""What named code is made of: its module, the modules beside it that it imports, and the data it reads.

Data is known where a module declares it, at its top level, by paths from its own folder:

    CROCO_READS = ["lexicon.tsv", "weights"]    # files, or folders with all that is in them
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os.path
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from croco.errors import RecipeError

READS = "CROCO_READS"
#: Modules in here change with the version of a package alone, and are not followed; CroCo's own likewise.
INSTALLED = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")]
INSTALLED.append(Path(__file__).resolve().parents[1])


def digest(module: str) -> str:
    """The SHA-256 of a module's file, or of all that it is made of.

    Raises RecipeError where there is no such module, or where data that it declares is missing.
    """
    origin = _origin(module)
    if origin is None:
        return "built-in"
    found: dict[Path, str] = {}
    _gather(origin, module, _root(origin, module), found)
    if len(found) == 1:
        return found[origin]
    names = {os.path.relpath(path, origin.parent): own for path, own in found.items()}
    lines = "".join(f"{name}\0{own}\0" for name, own in sorted(names.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _origin(module: str) -> Path | None:
    """A module's file; None where it has none, as built-in ones."""
    try:
        spec = importlib.util.find_spec(module)
    except (ModuleNotFoundError, ValueError):
        spec = None
    if spec is None:
        raise RecipeError(f"{module!r}: there is no module of that name here")
    if spec.origin is None or not Path(spec.origin).exists():
        return None
    return Path(spec.origin).resolve()


def _root(file: Path, module: str) -> Path | None:
    """The folder that a module is found from; None where what is in it is not the user's."""
    up = module.count(".") + (file.name == "__init__.py")
    root = file.parents[up] if up < len(file.parents) else file.parent
    return None if any(root.is_relative_to(one) for one in INSTALLED) else root


def _gather(file: Path, module: str, root: Path | None, found: dict[Path, str]) -> None:
    """Add the digests of a module's file, of what it declares to read, and of the modules under `root` that
    it imports."""
    content = file.read_bytes()
    found[file] = hashlib.sha256(content).hexdigest()
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # told where it is loaded
        return
    for path in _declared(tree, file):
        with path.open("rb") as stream:
            found[path] = hashlib.file_digest(stream, "sha256").hexdigest()
    for name in _imported(tree, module, file.name == "__init__.py") if root else ():
        for path, own in _files(root, name) if root else ():
            if path not in found:
                _gather(path, own, root, found)


def _declared(tree: ast.Module, file: Path) -> Iterator[Path]:
    """The files that a module says it reads."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if READS not in [getattr(one, "id", None) for one in targets]:
            continue
        try:
            names: Any = ast.literal_eval(node.value)  # type: ignore[attr-defined]
            paths = [file.parent / name for name in names] if not isinstance(names, str) else None
        except (ValueError, TypeError):
            paths = None
        if paths is None:
            raise RecipeError(
                f"{file}:{node.lineno}: {READS} must be a list of paths in quotes: write it as one"
            )
        for path in paths:
            yield from _contents(path.resolve(), f"{file}:{node.lineno}: {READS}")


def _contents(path: Path, where: str) -> list[Path]:
    if path.is_dir():
        inside = (one for one in sorted(path.rglob("*")) if "__pycache__" not in one.parts)
        return [one for one in inside if one.is_file()]
    if not path.is_file():
        raise RecipeError(f"{where} names {path}, which is not there: put it there or correct it")
    return [path]


def _imported(tree: ast.Module, module: str, package: bool) -> Iterator[str]:
    """The full names of what a module imports anywhere in it, modules or what is in them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".") if node.level else []
            parts = parts[: len(parts) - node.level + package] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names)


def _files(root: Path, name: str) -> Iterator[tuple[Path, str]]:
    """The modules under a folder that importing a name runs: packages on the way, and its own."""
    parts = name.split(".")
    for k in range(1, len(parts) + 1):
        place, own = root.joinpath(*parts[:k]), ".".join(parts[:k])
        for path in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if path.is_file():
                yield path.resolve(), own
                break
