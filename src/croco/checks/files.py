"""The data files and templates of stages that have work to do: they are read as the stage would."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from croco.checks.findings import Finding, Subject, roles_in, sections
from croco.datafiles import FileRef
from croco.errors import CrocoError, EngineError
from croco.promptsets import FolderRef, HubRef
from croco.runner import free_memory
from croco.stage import Stage
from croco.stages import prompts

#: A quick check leaves files alone that have more bytes in all.
QUICK = 64 * 2**20


def check(subject: Subject) -> Iterator[Finding]:
    """An error for each stage whose files cannot be used; a warning where they are not read now."""
    for stage in subject.pending.values():
        read = _reading(subject, stage)
        if read is None:
            continue
        if subject.quick and (why := _slow(stage)):
            message = f"{why}, so it is not read here: a run reads it before it starts"
            yield Finding("warning", f"stage {stage.name!r}", message)
        else:
            yield from _found(read)
            free_memory()


def _reading(subject: Subject, stage: Stage) -> Callable[[], None] | None:
    """What reads a stage's files, if it has any; of prompts the orders of roles are noted."""
    own = stage.config
    if not isinstance(own, prompts.Config):
        return getattr(own, "check", None)

    def note() -> None:
        subject.turns[stage.identity] = roles_in(prompts.read(own)[0])

    return note


def _found(read: Callable[[], None]) -> Iterator[Finding]:
    try:
        read()
    except CrocoError as error:
        # An engine's error: what lies on a hub cannot be reached from here.
        here = isinstance(error, EngineError)
        yield Finding("error", "", str(error), here, error.exit_code)


def _slow(stage: Stage) -> str:
    """What of a stage's data takes long to read, in words; empty where nothing does."""
    files = list(sections(stage.config))
    hub = [one.label for one in files if isinstance(one, HubRef)]
    if hub:
        return f"{hub[0]} lies on a hub"
    named = [one.path for one in files if isinstance(one, FileRef | FolderRef)]
    size = sum(one.stat().st_size for path in named for one in (path, *path.glob("*/*")))
    return f"its data has {size / 2**20:.0f} MiB" if size > QUICK else ""
