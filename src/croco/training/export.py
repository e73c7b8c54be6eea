"""A tuned model to take away: the adapter as it is, or its base's weights with it merged in.

Everything is made beside its place and renamed; `croco.json` says what it is and holds the files' digests.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from croco import loading, models
from croco.errors import EngineError, RecipeError
from croco.merging import cast, check_saved, merged
from croco.models import ModelRef
from croco.plugins import require
from croco.quiet import quiet
from croco.training.log import DATA, NAME

RECORD, CARD, CONFIG = "croco.json", "README.md", "adapter_config.json"
#: What else stands beside an adapter (and the log of its training) is its tokenizer and chat template.
WEIGHTS = ("adapter_model.safetensors", CONFIG, RECORD, CARD, NAME, DATA)

Form = Literal["adapter", "merged", "model"]


@dataclass(frozen=True)
class Tuned:
    """What a training left: its files, the policy it started from, and what to write down about it."""

    files: Path
    policy: ModelRef
    about: dict[str, Any]

    def form(self, merged: bool) -> Form:
        """What an export of it is; a whole model stays one. RecipeError where there is none."""
        if not (self.files / CONFIG).is_file():
            if not (self.files / "config.json").is_file():
                raise RecipeError(
                    f"{self.files} holds neither an adapter nor a model: the trainer wrote something else"
                )
            return "model"
        if "croco_fake" in json.loads((self.files / CONFIG).read_text("utf-8")):
            raise RecipeError(
                f"arm {self.about['arm']!r} was trained by the trainer 'fake', which makes no adapter:"
                " train it by a real one to export it"
            )
        return "merged" if merged else "adapter"


def export(tuned: Tuned, out: Path, merge: bool, dtype: str) -> bool:
    """Write a tuned model to a new folder; False where that very export stands there already.

    Tokenizer and chat template are copied byte by byte. `dtype` is of merged weights, which are summed in
    float32. Raises RecipeError where the folder holds something else.
    """
    form = tuned.form(merge)
    about = {"form": form} | ({"dtype": dtype} if form == "merged" else {}) | tuned.about
    if _stands(out, about):
        return False
    with _placed(out) as part:
        if form == "merged":
            _write_merged(tuned, part, dtype)
        else:
            _copy(tuned.files, part, (RECORD, CARD, NAME, DATA))
        if form == "adapter":
            _name_base(tuned.policy, part)
        (part / CARD).write_text(_card(about, tuned.policy), "utf-8")
        record = about | {"files": _digests(part)}
        (part / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return True


def _write_merged(tuned: Tuned, part: Path, dtype: str) -> None:
    """Write merged weights; EngineError where the model that loads from them is not the adapter's."""
    require(__name__, "merging an adapter")
    import torch

    base = loading.causal(models.fetch(tuned.policy), dtype=torch.float32)
    with quiet():
        model = merged(loading.put_on(base, tuned.files))
        cast(model, getattr(torch, dtype))
        model.save_pretrained(part)
        cast(model, torch.float32)
        check_saved(model, loading.causal(part, dtype=torch.float32))
    _copy(tuned.files, part, WEIGHTS)


def _copy(files: Path, part: Path, without: Sequence[str]) -> None:
    for file in files.iterdir():
        if file.is_file() and file.name not in without:
            shutil.copyfile(file, part / file.name)


def _name_base(policy: ModelRef, part: Path) -> None:
    """Let the adapter name a base that loads: a hub id with its revision, or a folder's full path."""
    config = json.loads((part / CONFIG).read_text("utf-8"))
    name, revision = models.base_of(policy)
    config |= {"base_model_name_or_path": name, "revision": revision}
    (part / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")


def _stands(out: Path, about: dict[str, Any]) -> bool:
    """Whether a folder is this export, file by file; RecipeError where it is anything else but empty."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        record = json.loads((out / RECORD).read_text("utf-8"))
        files = record.pop("files")
        # Other versions, or another day, would export the same.
        record["versions"] = about["versions"]
        same = record == json.loads(json.dumps(about))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        same = False
    if same and _digests(out) == files:
        return True
    how = "was changed since it was exported" if same else "exists and is not this export"
    raise RecipeError(f"{out} {how}: name a new folder, or remove that one")


def _digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file but the card, which people edit, and the record itself."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.parent != folder or path.name not in (RECORD, CARD):
            with path.open("rb") as stream:
                found[str(path.relative_to(folder))] = hashlib.file_digest(
                    stream, "sha256"
                ).hexdigest()
    return found


@contextlib.contextmanager
def _placed(out: Path) -> Iterator[Path]:
    """A folder beside `out` that becomes `out` if all goes well."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise RecipeError(
            f"{out} cannot be made ({error.strerror}): name another folder"
        ) from error
    try:
        part.chmod(0o755)
        yield part
        try:
            part.replace(out)
        except OSError as error:
            raise EngineError(f"{out} was made by somebody else meanwhile: look at it") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _card(about: dict[str, Any], policy: ModelRef) -> str:
    """A model card of a few lines."""
    import jinja2

    base, revision = models.base_of(policy)
    text = (Path(__file__).parent / "card.md.jinja").read_text("utf-8")
    environment = jinja2.Environment(  # noqa: S701 - Markdown, not HTML
        trim_blocks=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    return environment.from_string(text).render(
        {"dtype": ""} | about,
        base=base,
        revision=revision,
        local=Path(base).is_absolute(),
        method=about["recipe"]["arms"][about["arm"]]["train"]["method"].upper(),
        loader=f"Auto{'Peft' * (about['form'] == 'adapter')}ModelForCausalLM",
    )
