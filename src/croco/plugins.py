"""Names in a recipe that stand for code: a short name from a table, or `module:attribute`."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Mapping
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
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
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
