"""How rows become JSON and Parquet, and come back."""

from __future__ import annotations

import dataclasses
import types
import typing
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def encode(row: Any) -> dict[str, Any]:
    """A row as a plain dictionary that JSON and Parquet can hold."""
    return dataclasses.asdict(row)


def decode(kind: type[Any], values: dict[str, Any]) -> Any:
    """The row that `encode` made `values` of; nested records and maps are rebuilt."""
    hints = _hints(typing.cast(Any, kind))
    return kind(**{name: _decode(hints[name], value) for name, value in values.items()})


@lru_cache(maxsize=64)
def _hints(kind: Any) -> dict[str, Any]:
    """A record's annotations: reading them takes longer than building a row."""
    return typing.get_type_hints(kind)


def _decode(hint: Any, value: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if value is None:
        return None
    if origin is list:
        return [_decode(args[0], v) for v in value] if dataclasses.is_dataclass(args[0]) else value
    if origin is dict:
        return dict(value)
    if origin in (typing.Union, types.UnionType):
        return _decode(next(one for one in args if one is not type(None)), value)
    return (
        decode(hint, value) if isinstance(hint, type) and dataclasses.is_dataclass(hint) else value
    )


_SCHEMAS: dict[Any, Any] = {}


def schema(kind: type[Any]) -> pa.Schema:
    """The Parquet schema of a record type, read off its annotations."""
    import pyarrow as pa

    if kind not in _SCHEMAS:
        _SCHEMAS[kind] = pa.schema(_fields(kind))
    return _SCHEMAS[kind]


def _fields(kind: type[Any]) -> list[pa.Field]:
    import pyarrow as pa

    hints = typing.get_type_hints(kind)
    return [pa.field(f.name, _arrow(hints[f.name])) for f in dataclasses.fields(kind)]


def _arrow(hint: Any) -> pa.DataType:
    import pyarrow as pa

    plain = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    if hint in plain:
        return plain[hint]
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        return pa.list_(_arrow(args[0]))
    if origin is dict:
        return pa.map_(_arrow(args[0]), _arrow(args[1]))
    if origin in (typing.Union, types.UnionType):
        return _arrow(next(a for a in args if a is not type(None)))
    if dataclasses.is_dataclass(hint):
        return pa.struct(_fields(typing.cast(type[Any], hint)))
    raise TypeError(f"no Parquet type for {hint!r}")
