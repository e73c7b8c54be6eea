"""YAML by the core schema of version 1.2: of bare words, `true`, `false` and `null` alone stand for values.

PyYAML follows version 1.1, in which `no` (Norwegian) and `off` are false, `010` is 8, `12:30` is 750,
`1e-3` is a text and `2026-01-31` a date. Accelerate's config files, which are written for that, are read by
it; all other YAML is read and written here.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

#: What a bare word stands for, the characters that it may begin with, and its tag.
WORDS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}


class _Dumper(yaml.SafeDumper):
    """Quotes what either version would take for a value: others read what CroCo writes, too."""


for _kind in (_Loader, _Dumper):
    for _tag, _pattern, _first in WORDS:
        _regular = re.compile(f"^(?:{_pattern})$")
        _kind.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _regular, list(_first))


def _integer(loader: _Loader, node: Any) -> int:
    text = loader.construct_scalar(node)
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def load(text: str) -> Any:
    """The values in a YAML text; yaml.YAMLError where it is none."""
    return yaml.load(text, _Loader)  # noqa: S506 - a safe loader


def dump(values: Any, **style: Any) -> str:
    """Values as YAML, which `load` reads back; `style` are arguments of PyYAML's dump."""
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **style)
    return text
