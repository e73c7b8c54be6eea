"""A run's folder: the resolved recipe, and links with plain names to the artifacts it uses."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from croco import recipe_file, yamls
from croco.errors import DataError
from croco.recipe import AnyRecipe
from croco.sealing import replace
from croco.stage import Stage
from croco.store import Store


@dataclass(frozen=True)
class Run:
    """A named run under a home folder, which also holds the store that runs share."""

    home: Path
    recipe: AnyRecipe

    @property
    def name(self) -> str:
        """The run's name is its recipe's."""
        return self.recipe.name

    @property
    def folder(self) -> Path:
        """Where the run's recipe and links lie."""
        return self.home / "runs" / self.name

    @cached_property
    def store(self) -> Store:
        """The store that all runs of this home share."""
        return Store(self.home / "store")

    def absolute(self) -> Run:
        """The same run for processes that may work in another folder."""
        return Run(self.home.absolute(), self.recipe)

    @classmethod
    def load(cls, home: Path, name: str) -> Run:
        """The run that `save` wrote down; DataError where there is none of that name."""
        path = home / "runs" / name / "recipe.yaml"
        if not path.exists():
            known = sorted(p.parent.name for p in home.glob("runs/*/recipe.yaml"))
            hint = f"known here are {', '.join(known)}" if known else "there are none here yet"
            raise DataError(f"there is no run {name!r} in {home / 'runs'}: {hint}")
        values = yamls.load(path.read_text(encoding="utf-8"))
        folder = Path(values.pop("folder"))
        return cls(home, recipe_file.parse(values, path).model_copy(update={"folder": folder}))

    def save(self) -> None:
        """Write the resolved recipe down, for people and for workers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        values = self.recipe.model_dump(mode="json") | {"folder": str(self.recipe.folder.resolve())}
        text = yamls.dump(values)
        replace(self.folder / "recipe.yaml", text.encode())

    def link(self, stages: Mapping[str, Stage], every: Container[str]) -> None:
        """Point each stage's plain name at its artifact; the report's at its page and figures.

        Names of stages that the recipe has no longer, which are not among `every`, are taken away.
        """
        for name, stage in stages.items():
            target = Path("..", "..", "store", stage.identity)
            _link(self.folder / name, target / "files" if stage.kind == "report" else target)
        for path in self.folder.iterdir():
            if path.is_symlink() and path.name not in every and not path.name.startswith("."):
                path.unlink(missing_ok=True)

    def linked(self, name: str) -> Path | None:
        """The artifact that a stage's name pointed at when the run was last started."""
        path = self.folder / name
        if not path.is_symlink():
            return None
        target = path.readlink()
        identity = target.parent.name if target.name == "files" else target.name
        return self.store.root / identity


def _link(path: Path, target: Path) -> None:
    if path.is_symlink() and path.readlink() == target:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    temporary.symlink_to(target)
    temporary.replace(path)
