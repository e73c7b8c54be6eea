"""Prompt and preference files: JSON Lines or Parquet in, checked rows out, errors with file and line.

A path starts at the recipe's folder; `bundled:NAME` is a file that CroCo carries, an address such as
`s3://bucket/file` one that fsspec reads (`remote`), and prompts may be a hub data set or a folder too
(`promptsets`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from croco.arena import shaped
from croco.errors import DataError, RecipeError
from croco.languages import checked_tag
from croco.promptsets import HUB, FolderRef, HubRef, Located
from croco.records import Key, Keyed, Preference, Prompt, Sentence, Turn
from croco.remote import fetched
from croco.texts import is_blank

Row = TypeVar("Row", bound=Keyed)
#: The columns of Parquet files that are read.
COLUMNS = {
    "id",
    "question_id",
    "lang",
    "language",
    "prompt",
    "messages",
    "chosen",
    "rejected",
    "flaw",
    "text",
}


class FileRef(BaseModel):
    """A data file: its content's SHA-256 (in the identity), and where it lies (not)."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    path: Path = Field(exclude=True)
    label: str = Field(exclude=True)

    def located(self, languages: Collection[str] | None) -> list[Located]:
        """The file itself; it may hold any languages. DataError where it was edited since."""
        return [Located(self.unchanged(), self.label)]

    def unchanged(self) -> Path:
        """Where the file lies; DataError where its content is not what the reference stands for."""
        try:
            stat = self.path.stat()
            now = _digest(self.path, stat.st_mtime_ns, stat.st_size)
        except OSError as error:
            raise DataError(f"{self.label} is gone ({error.strerror}): put it back") from error
        if now != self.sha256:
            raise DataError(f"{self.label} was edited since the run began: start the run again")
        return self.path


#: What a recipe may name as prompts.
PromptFiles = FileRef | FolderRef | HubRef


def refer_prompts(name: str, folder: Path) -> PromptFiles:
    """The file, folder or hub data set that a recipe names; RecipeError where there is none."""
    if name.startswith(HUB):
        return HubRef.of(name)
    path = folder / Path(name).expanduser()
    return FolderRef.of(path, name) if path.is_dir() else refer(name, folder)


def refer(name: str, folder: Path) -> FileRef:
    """The file that a recipe names; RecipeError where there is none."""
    if name.startswith("bundled:"):
        path = Path(
            str(resources.files("croco") / "data" / Path(name.removeprefix("bundled:")).name)
        )
    elif "://" in name:
        path = fetched(name)
    else:
        path = folder / Path(name).expanduser()
    try:
        stat = path.stat()
        return FileRef(sha256=_digest(path, stat.st_mtime_ns, stat.st_size), path=path, label=name)
    except OSError as error:
        raise RecipeError(
            f"data file {name!r} cannot be read: {path} ({error.strerror})"
        ) from error


@lru_cache(maxsize=256)
def _digest(path: Path, mtime_ns: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_prompts(
    files: Sequence[PromptFiles], languages: Collection[str] | None = None
) -> list[Prompt]:
    """All prompts of some files; of folders and hub data sets those of some languages, or of all.

    DataError names the file and line of the first bad row.
    """
    return list(_unique(Prompt, [one for file in files for one in file.located(languages)]))


def read_placed(files: Sequence[PromptFiles]) -> list[tuple[str, Prompt]]:
    """All prompts of some files, each with its place; DataError as `read_prompts`."""
    return list(_placed(Prompt, [one for file in files for one in file.located(None)]))


def read_preferences(files: Sequence[FileRef], lang: str | None = None) -> list[Preference]:
    """All preference pairs of some files; DataError names the file and line of the first bad row.

    `lang` is the language of rows that name none.
    """
    located = [one for file in files for one in file.located(None)]
    return list(_unique(Preference, [dataclasses.replace(one, lang=lang or "") for one in located]))


def read_sentences(files: Sequence[FileRef]) -> list[Sentence]:
    """All sentences of some files; an id that is a whole number stands for its digits.

    DataError names the file and line of the first bad row.
    """
    located = [one for file in files for one in file.located(None)]
    return list(_unique(Sentence, located, numbered=True))


def _unique(kind: type[Row], files: Sequence[Located], numbered: bool = False) -> Iterator[Row]:
    return (row for _, row in _placed(kind, files, numbered))


def _placed(
    kind: type[Row], files: Sequence[Located], numbered: bool = False
) -> Iterator[tuple[str, Row]]:
    """All rows with their places; DataError where one is bad or its key is there twice."""
    seen: dict[Key, str] = {}
    for file in files:
        for where, values in _parquet(file) if file.path.suffix == ".parquet" else lines_of(file):
            if numbered and type(values.get("id")) is int:
                values["id"] = str(values["id"])
            try:
                row = _row(kind, shaped(values, file.lang), where)
            except ValueError as error:
                raise DataError(f"{where}: field 'language': {error}") from error
            if row.key in seen:
                raise DataError(
                    f"{where}: (id, lang) {row.key} stands already at {seen[row.key]}: keep one of them"
                )
            seen[row.key] = where
            yield where, row


def _parquet(file: Located) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        parquet = pq.ParquetFile(file.path)
        columns = [name for name in parquet.schema_arrow.names if name in COLUMNS]
        for batch in parquet.iter_batches(columns=columns):
            for values in batch.to_pylist():
                number += 1
                known = {name: value for name, value in values.items() if value is not None}
                yield f"{file.label}: row {number}", known
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{file.label}: not a Parquet file ({reason}): replace it") from error


def lines_of(file: FileRef | Located) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON Lines file with where they stand; DataError names a line that is none."""
    path = file.unchanged() if isinstance(file, FileRef) else file.path
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            where = f"{file.label}:{number}"
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except ValueError as error:
                raise DataError(
                    f"{where}: not a line of JSON ({error}): mend or remove it"
                ) from error
            if not isinstance(values, dict):
                raise DataError(f"{where}: not a JSON object: write one object a line")
            yield where, values


def prompt_of(values: dict[str, Any], where: str) -> Prompt | None:
    """The prompt in a line that may hold other things too; None where it has none."""
    return _row(Prompt, values, where) if {"prompt", "messages"} & values.keys() else None


def _row(kind: type[Row], values: dict[str, Any], where: str) -> Row:
    known: dict[str, Any] = {}
    if "messages" in values:
        values = {**values, **_last_turn(values, where)}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.name == "before":
            known["before"] = values.get("before turns", [])
            continue
        value = values.get(field.name, None if field.default is dataclasses.MISSING else "")
        if value is None:
            raise DataError(f"{where}: field {field.name!r} is missing: add it")
        if not isinstance(value, str):
            raise DataError(f"{where}: field {field.name!r} is {value!r}: write it as a string")
        if not is_text(value):
            raise DataError(
                f"{where}: field {field.name!r} holds half a character: mend its escapes"
            )
        if is_blank(value) and field.default is dataclasses.MISSING:
            raise DataError(f"{where}: field {field.name!r} is empty: fill it or remove the line")
        known[field.name] = value
    try:
        known["lang"] = checked_tag(known["lang"])
    except ValueError as error:
        raise DataError(f"{where}: field 'lang': {error}") from error
    return kind(**known)


def _last_turn(values: dict[str, Any], where: str) -> dict[str, Any]:
    """What `messages` say: the user's prompt at their end, and the turns before it."""
    if "prompt" in values:
        raise DataError(f"{where}: has both 'prompt' and 'messages': keep one of them")
    try:
        turns = [Turn(turn["role"], turn["content"]) for turn in values["messages"]]
        roles = {turn.role for turn in turns}
        whole = all(isinstance(turn.content, str) and is_text(turn.content) for turn in turns)
    except (TypeError, KeyError):
        turns, roles, whole = [], set(), False
    if not turns or not whole or not roles <= {"system", "user", "assistant"}:
        raise DataError(
            f"{where}: field 'messages' is not a list of turns: write each as a role (system, user,"
            " assistant) and a content"
        )
    if turns[-1].role != "user":
        raise DataError(f"{where}: field 'messages' must end with a turn of the user's")
    return {"prompt": turns[-1].content, "before turns": turns[:-1]}


def is_text(value: str) -> bool:
    """Whether it can be written as UTF-8; JSON may hold a lone surrogate, such as "\\ud800"."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
