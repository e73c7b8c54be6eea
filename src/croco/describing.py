"""What an artifact was made from: the file `stage.json` beside its shards, written before any row."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from croco.errors import DataError
from croco.sealing import write_once

NAME = "stage.json"


def write(root: Path, recipe: Mapping[str, Any], provenance: Any, grown_from: str | None) -> None:
    """Describe the artifact in a folder; a description that is there already stays as it is."""
    described = {"recipe": recipe, "provenance": provenance, "grown_from": grown_from}
    write_once(root / NAME, json.dumps(described, indent=1).encode())


def read(root: Path) -> dict[str, Any] | None:
    """The description of the artifact in a folder, if it has one; DataError where that is damaged."""
    path = root / NAME
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        described: dict[str, Any] = json.loads(text)
        if isinstance(described["recipe"], dict):
            return described
    except (ValueError, KeyError, TypeError):
        pass
    raise DataError(f"{path} is damaged: move {root} away and run again")


def check(root: Path, recipe: Mapping[str, Any]) -> bool:
    """Whether the artifact in a folder is described; DataError where by another recipe than this one, or
    where shards are sealed without a description.

    A folder's name is a digest of the recipe: only damage, or two recipes of one digest, parts them.
    """
    described = read(root)
    if described is None:
        if any(root.glob("shard-*.parquet")):
            raise DataError(
                f"{root / NAME} is missing, so nothing says what its shards are: move {root} away and run"
                " again"
            )
        return False
    changed = differences(described["recipe"], recipe)
    if changed:
        raise DataError(
            f"{root / NAME} holds another recipe than the stage of this name has ({changed[0]}): move"
            f" {root} away and run again"
        )
    return True


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The fields in which two recipes differ, in words, sorted by field."""
    # What was read from a file has JSON's types: lists for tuples, texts as keys.
    one, other = (dict(_flat(json.loads(json.dumps(values)))) for values in (old, new))
    keys = sorted(one.keys() | other.keys())
    return [_change(k, one.get(k), other.get(k)) for k in keys if one.get(k) != other.get(k)]


def _change(key: str, old: Any, new: Any) -> str:
    where, _, rest = key.partition(".")
    if where == "inputs":
        return f"{rest} is new"
    return f"{rest or where}: {old} -> {new}"


def _flat(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else key)
    elif isinstance(values, list) and any(isinstance(value, dict | list) for value in values):
        for index, value in enumerate(values):
            yield from _flat(value, f"{prefix}[{index}]")
    else:
        yield prefix, values


def nearest(store: Path, kind: str, recipe: dict[str, Any], grows: str) -> str | None:
    """The artifact with the most to give of those whose recipes differ from this one in `grows` alone."""
    wanted, _ = _without(recipe, grows)
    found = []
    for path in store.glob(f"{kind}-*"):
        with contextlib.suppress(DataError, KeyError, TypeError):
            rest, value = _without((read(path) or {})["recipe"], grows)
            if rest == wanted:
                found.append((value, path.name))
    return max(found)[1] if found else None


def _without(recipe: dict[str, Any], path: str) -> tuple[dict[str, Any], Any]:
    """A recipe without the value at a dotted path, and the value."""
    name, _, rest = path.partition(".")
    others = {key: value for key, value in recipe.items() if key != name}
    if not rest:
        return others, recipe[name]
    inner, value = _without(recipe[name], rest)
    return others | {name: inner}, value
