"""Names in a recipe that stand for code: a short name from a table, or `module:attribute`."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from croco import packages
from croco.errors import RecipeError


def load_class(name: str, table: Mapping[str, str], what: str) -> Any:
    """The object behind a short name of `table` or a `module:attribute` of the user's.

    Raises RecipeError where there is no such thing, or a package that it needs is not installed. The
    working directory is importable, as it is for `python -m`.
    """
    check_name(name, table, what)
    target = table.get(name, name)
    module_name, _, attribute = target.partition(":")
    see(Path())
    require(target, f"{what} {name!r}")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        if error.name and not target.startswith(error.name):
            raise RecipeError(f"{what} {name!r} needs {packages.lack([error.name])}") from error
        raise RecipeError(f"{what} {name!r}: there is no module {module_name!r} here") from error
    except AttributeError as error:
        raise RecipeError(f"{what} {name!r}: {module_name} has no {attribute!r}") from error


def require(target: str, what: str) -> None:
    """RecipeError, with the install command, where a package that `module:attribute` needs is missing.

    `what` names in the message who needs it.
    """
    if missing := packages.missing(target):
        raise RecipeError(f"{what} needs {packages.lack(missing)}")


def check_name(name: str, table: Mapping[str, str], what: str) -> None:
    """RecipeError unless a name is in the table or has the form `module:attribute`."""
    if name in table or (":" in name and name.partition(":")[2]):
        return
    near = difflib.get_close_matches(name, table, n=1)
    known = f"use one of {', '.join(sorted(table))}, or " if table else ""
    hint = f"did you mean {near[0]!r}?" if near else f"{known}write module:name"
    raise RecipeError(f"{what} {name!r} is not known: {hint}")


def source_digest(name: str) -> str:
    """The SHA-256 of the module file behind `module:attribute`, so that an edit is a new identity.

    Raises RecipeError where the module cannot be found. What the module imports is not followed.
    """
    see(Path())
    module_name = name.partition(":")[0]
    try:
        spec = importlib.util.find_spec(module_name)
    except ModuleNotFoundError:
        spec = None
    if spec is None:
        raise RecipeError(f"{name!r}: there is no module {module_name!r} here")
    if spec.origin is None or not Path(spec.origin).exists():
        return "built-in"
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()


def see(folder: Path) -> None:
    """Make modules in a folder importable, after all others."""
    here = str(folder.resolve())
    if here not in sys.path:
        sys.path.append(here)
