"""Names in a recipe that stand for code: a short name from a table, or `module:attribute`."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from croco import packages, sources
from croco.errors import RecipeError


def load_class(name: str, table: Mapping[str, str], what: str) -> Any:
    """The object behind a short name of `table` or a `module:attribute` of the user's.

    Raises RecipeError where there is no such thing, a package that it needs is not installed, or the
    user's code is not that of the digest that was `expect`ed. The working directory is importable, as it
    is for `python -m`.
    """
    check_name(name, table, what)
    target = table.get(name, name)
    module_name, _, attribute = target.partition(":")
    see(Path())
    require(target, f"{what} {name!r}")
    try:
        if name in table:
            return getattr(importlib.import_module(module_name), attribute)
        return getattr(_as_expected(name, module_name), attribute)
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


#: By name, the digests of the user's code in the identity of what is being made.
_expected: dict[str, str] = {}
#: By module, the digest of what it was made of when it was loaded.
_loaded: dict[str, str] = {}


def expect(code: Mapping[str, str]) -> None:
    """From now on load no other code than that of these digests, by name (`module:attribute`)."""
    _expected.clear()
    _expected.update(code)


def expected() -> dict[str, str]:
    """What was expected last."""
    return dict(_expected)


def _as_expected(name: str, module: str) -> Any:
    """A module of the user's, loaded now or before; RecipeError where it is not what was expected."""
    if module not in sys.modules or module not in _loaded:
        before = sources.digest(module)
        _refuse_edited(name, before)
        importlib.import_module(module)
        _loaded[module] = sources.digest(module)
        if _loaded[module] != before:
            _refuse_edited(name, "")
    _refuse_edited(name, _loaded[module])
    return sys.modules[module]


def _refuse_edited(name: str, digest: str) -> None:
    if _expected.get(name, digest) != digest:
        raise RecipeError(
            f"{name!r}: its code, or data that it reads, was edited since the run began: start the run"
            " again"
        )


def source_digest(name: str) -> str:
    """The digest of the code behind `module:attribute` (`croco.sources`): an edit is a new identity.

    Raises RecipeError where the module, or data that it declares, cannot be found.
    """
    see(Path())
    return sources.digest(name.partition(":")[0])


def see(folder: Path) -> None:
    """Make modules in a folder importable, after all others."""
    here = str(folder.resolve())
    if here not in sys.path:
        sys.path.append(here)
