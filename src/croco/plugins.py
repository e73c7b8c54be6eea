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


def load_class(name: str, table: Mapping[str, str], what: str) -> Any:
    """The object behind a short name of `table` or a `module:attribute` of the user's.

    Raises RecipeError where there is no such thing. The working directory is importable, as it is
    for `python -m`.
    """
    target = table.get(name, name)
    module_name, _, attribute = target.partition(":")
    if not attribute:
        near = difflib.get_close_matches(name, table, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(sorted(table))}"
        raise RecipeError(f"{what} {name!r} is not known: {hint}, or write module:name")
    _see_working_directory()
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        if error.name and not target.startswith(error.name):
            raise RecipeError(
                f"{what} {name!r} needs the package {error.name!r}: install it"
                " (pip install 'croco-llm[local]' has all that runs models here)"
            ) from error
        raise RecipeError(f"{what} {name!r}: there is no module {module_name!r} here") from error
    except AttributeError as error:
        raise RecipeError(f"{what} {name!r}: {module_name} has no {attribute!r}") from error


def source_digest(name: str) -> str:
    """The SHA-256 of the module file behind `module:attribute`, so that an edit is a new identity.

    Raises RecipeError where the module cannot be found. What the module imports is not followed.
    """
    _see_working_directory()
    module_name = name.partition(":")[0]
    try:
        spec = importlib.util.find_spec(module_name)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise RecipeError(f"{name!r}: there is no module {module_name!r} here")
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()


def _see_working_directory() -> None:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
