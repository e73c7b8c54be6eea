"""Whether the files of models in local directories hold all their weights: their headers are read alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from croco import loading, models, packages
from croco.checks.findings import Finding, Subject, sections
from croco.errors import DataError
from croco.models import ModelRef
from croco.reward_settings import RewardConfig
from croco.stage import Stage


def check(subject: Subject) -> Iterator[Finding]:
    """An error for each policy, reward or judge that would get random weights."""
    if packages.absent([*packages.MODEL, "peft"]):
        return  # said already, or of models that the hub has
    found = [one for stage in subject.pending.values() for one in _of(stage)]
    yield from {one.message: one for one in reversed(found)}.values()


def _of(stage: Stage) -> Iterator[Finding]:
    own: Any = stage.config
    if stage.kind == "sample" and own.sampling.engine in ("transformers", "vllm"):
        yield from _refused(stage, own.policy, partial(loading.causal, device_map="meta"))
    if stage.kind in ("score", "judge", "audit", "train"):
        for section in sections(own):
            match section:
                case RewardConfig(kind="classifier" | "vllm" | "server", train=None, model=str()):
                    adapters = section.kind == "classifier"
                    read = partial(loading.check_classifier, adapters=adapters)
                    yield from _refused(stage, section.ref, read)


def _refused(stage: Stage, ref: ModelRef, read: Callable[[Path], Any]) -> Iterator[Finding]:
    """What the headers of a model's files tell; nothing where its weights are not here."""
    folder = Path(ref.location)
    base = models.base_of_adapter(folder) if ref.location else None
    if not ref.location or (base and not base.location) or not any(folder.glob("*.safetensors")):
        return
    try:
        read(folder)
    except DataError as error:
        yield Finding("error", f"stage {stage.name!r}", str(error))
    except Exception:  # noqa: S110 - what loads only with memory, or a package, is told when it is loaded
        pass
