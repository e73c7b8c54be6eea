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

from croco.errors import RecipeError

#: The extras of what is not in `local`, by short name; the vLLM server's scorer needs a client alone.
EXTRAS = {"vllm": "vllm", "openai": "openai", "server": "openai", "ray": "ray", "slurm": "slurm"}


def load_class(name: str, table: Mapping[str, str], what: str) -> Any:
    """The object behind a short name of `table` or a `module:attribute` of the user's.

    Raises RecipeError where there is no such thing. The working directory is importable, as it is
    for `python -m`.
    """
    check_name(name, table, what)
    target = table.get(name, name)
    module_name, _, attribute = target.partition(":")
    see(Path())
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        if error.name and not target.startswith(error.name):
            raise RecipeError(
                f"{what} {name!r} needs the package {error.name!r}: install it"
                f" (pip install 'croco-llm[{EXTRAS.get(name, 'local')}]')"
            ) from error
        raise RecipeError(f"{what} {name!r}: there is no module {module_name!r} here") from error
    except AttributeError as error:
        raise RecipeError(f"{what} {name!r}: {module_name} has no {attribute!r}") from error


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
