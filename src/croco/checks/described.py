"""What a model's files say without weights: its configuration, its tokenizer, the names of its layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from croco import models
from croco.errors import CrocoError, EngineError
from croco.models import ModelRef
from croco.quiet import quiet

Head = Literal["AutoModelForCausalLM", "AutoModelForSequenceClassification"]


class UnknownError(EngineError):
    """What a model's files say cannot be known here and now; the message says why."""


@lru_cache(maxsize=64)
def folder_of(ref: ModelRef, quick: bool) -> Path:
    """A directory with a model's configuration and tokenizer; UnknownError where it cannot be had.

    What is not here is downloaded, but a short name's weights only where the check is not `quick`.
    """
    if ref.location:
        return Path(ref.location)
    if ref.name in models.EMBEDDED:
        if quick and not models.is_here(ref):
            raise UnknownError(f"model {ref.name!r} is not here yet")
        return models.fetch(ref)
    try:
        return models.fetch_tokenizer(ref, only_here=True)
    except CrocoError:
        if not models.hub_answers():
            raise UnknownError(
                f"model {ref.name!r} is not here and the hub does not answer"
            ) from None
    try:
        return models.fetch_tokenizer(ref)
    except CrocoError as error:
        raise UnknownError(str(error)) from error


@lru_cache(maxsize=16)
def config_of(ref: ModelRef, quick: bool) -> Any:
    """A model's configuration; UnknownError where transformers cannot read it."""
    return _read("AutoConfig", _whole(folder_of(ref, quick), quick))


@lru_cache(maxsize=16)
def tokenizer_of(ref: ModelRef, quick: bool) -> Any:
    """A model's tokenizer; UnknownError where transformers cannot read it."""
    folder = folder_of(ref, quick)
    own = any(folder.glob("tokenizer*"))
    return _read("AutoTokenizer", folder if own else _whole(folder, quick))


@lru_cache(maxsize=16)
def layers_of(ref: ModelRef, quick: bool, head: Head) -> Mapping[str, bool]:
    """The full names of a model's modules, and whether each is one that LoRA can be put on.

    The model is built without memory for its weights. UnknownError where transformers cannot.
    """
    import torch
    import transformers

    config = config_of(ref, quick)

    def build() -> Any:
        with quiet(), torch.device("meta"):
            return getattr(transformers, head).from_config(config)

    kinds = (
        torch.nn.Linear,
        torch.nn.Embedding,
        torch.nn.Conv2d,
        transformers.pytorch_utils.Conv1D,
    )
    model = _known(build)
    head_of = model.get_output_embeddings()
    return {
        name: isinstance(module, kinds)
        for name, module in model.named_modules()
        if module is not head_of
    }


def _whole(folder: Path, quick: bool) -> Path:
    """A model's directory, of an adapter that of its base."""
    base = models.base_of_adapter(folder)
    return folder_of(base, quick) if base else folder


def _read(kind: str, folder: Path) -> Any:
    def read() -> Any:
        import transformers

        return getattr(transformers, kind).from_pretrained(folder)

    return _known(read)


def _known(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:  # files of any model: anything may be wrong with them
        first = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise UnknownError(f"its files cannot be read without weights ({first})") from error
