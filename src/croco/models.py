"""Which model a recipe names, and where its files are.

A name is a short name of `EMBEDDED`, a local directory, or a hub id with an optional `@revision`.
`resolve` says what the name means without downloading; `fetch` gives the directory to load from.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class ModelRef(BaseModel):
    """A model: its name and a revision (both in the identity), and where it lies (not)."""

    model_config = ConfigDict(frozen=True)

    name: str
    revision: str
    location: str = Field("", exclude=True)


def resolve(name: str, folder: Path) -> ModelRef:
    raise NotImplementedError


def fetch(ref: ModelRef) -> Path:
    raise NotImplementedError
