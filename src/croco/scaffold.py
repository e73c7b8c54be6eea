"""`croco init`: a folder to start from, with a recipe and the data files it names."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

from croco.errors import RecipeError

DATA = (
    "prompts-train.jsonl",
    "prompts-heldout.jsonl",
    "preferences-train.jsonl",
    "preferences-test.jsonl",
)


def scaffold(folder: Path) -> list[Path]:
    """Write the quickstart's recipe and data into a new or empty folder; the files written."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RecipeError(f"{folder} exists and is not an empty folder: name another one")
    folder.mkdir(parents=True, exist_ok=True)
    recipe = _recipes() / "quickstart.yaml"
    text = recipe.read_text(encoding="utf-8").replace("bundled:", "")
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    for name in DATA:
        shutil.copyfile(str(resources.files("croco") / "data" / name), folder / name)
    return sorted(folder.iterdir())


def _recipes() -> Path:
    """The recipes: inside an installed package, beside the source of a checkout."""
    installed = Path(__file__).parent / "recipes"
    return installed if installed.exists() else Path(__file__).parents[2] / "recipes"
