"""Recipes from YAML: read, overridden, checked; what is wrong is said in one sentence with its key."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml
from pydantic import BaseModel

from croco import yamls
from croco.errors import RecipeError
from croco.recipe import AnyRecipe, Comparison, Recipe

Sections = TypeVar("Sections", bound=BaseModel)


def load(path: Path, overrides: Sequence[str] = ()) -> AnyRecipe:
    """The recipe in a YAML file, with `key.path=value` overrides applied.

    Raises RecipeError that names the file and the key.
    """
    return parse(read(path, overrides), path)


def read(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The keys of a YAML file, with overrides applied, not yet checked."""
    try:
        values = yamls.load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            f"{path} cannot be read ({error.strerror}): give a recipe file"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise RecipeError(f"{where} is not valid YAML: mend that line") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path} is not a recipe: it must be a mapping of keys")
    return overridden(values, overrides)


def overridden(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of a recipe's values with `key.path=value` overrides applied."""
    values = _unshared(values)
    for override in overrides:
        _override(values, override)
    return values


def parse(values: dict[str, Any], path: Path) -> AnyRecipe:
    """The recipe in a dictionary; `path` is named in errors and is where relative paths start."""
    if "folder" in values:
        raise RecipeError(f"{path}: unknown key 'folder': remove it")
    values = values | {"folder": path.parent}
    if "compare" in values:
        return parse_as(Comparison, values, path)
    return parse_as(Recipe, values, path)


def parse_as(kind: type[Sections], values: dict[str, Any], path: Path) -> Sections:
    """The sections of that kind in a dictionary; `path` is named in errors."""
    try:
        return kind(**values)
    except pydantic.ValidationError as error:
        raise RecipeError(f"{path}: {_explain(error.errors()[0], kind)}") from error


def _unshared(values: Any) -> Any:
    """A copy in which nothing is shared: YAML anchors would carry an override to all who use them."""
    if isinstance(values, dict):
        return {key: _unshared(value) for key, value in values.items()}
    return [_unshared(value) for value in values] if isinstance(values, list) else values


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set {override!r} is not of the form key.path=value")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise RecipeError(f"--set {key}: {parent!r} holds a value, not a section")
    try:
        values[last] = yamls.load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {key}: {text!r} is not a YAML value: quote it") from error


def _explain(problem: Any, kind: type[BaseModel]) -> str:
    location = [part for part in problem["loc"] if part != "[key]"]
    key = ".".join(str(part) for part in location) or "evaluate.judge"
    if problem["type"] == "extra_forbidden":
        known = _known_keys(location[:-1], kind)
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = (
            f"did you mean {near[0]!r}?" if near else f"known here are {', '.join(sorted(known))}"
        )
        return f"unknown key {key!r}: {hint}"
    if problem["type"] == "missing":
        return f"key {key!r} is missing: add it"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "literal_error":
        near = difflib.get_close_matches(str(problem["input"]), _quoted(message), n=1, cutoff=0.5)
        message += f": did you mean {near[0]!r}?" if near else ""
    given = problem["input"]
    got = "" if isinstance(given, dict | BaseModel) else f" (got {given!r})"
    return f"key {key!r}: {message[0].lower()}{message[1:]}{got}"


def _quoted(text: str) -> list[str]:
    """What stands in single quotes in a text: of pydantic's message, the values that are known."""
    return text.split("'")[1::2]


def _known_keys(location: Sequence[Any], kind: type[BaseModel]) -> list[str]:
    """The keys of the section at a location, found by walking the models' annotations."""
    model: Any = kind
    for part in location:
        if part in getattr(model, "model_fields", {}):
            model = _section_of(model.model_fields[part].annotation)
    return [name for name in getattr(model, "model_fields", {}) if name != "folder"]


def _section_of(hint: Any) -> Any:
    if isinstance(hint, type) and not isinstance(hint, types.GenericAlias):
        return hint if issubclass(hint, BaseModel) else None
    found = [_section_of(arg) for arg in typing.get_args(hint)]
    return next((model for model in found if model), None)
