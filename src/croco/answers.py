"""Answers that exist already, read from files: what `croco compare` compares.

JSON Lines with `id`, `lang`, and `response` (a text) or `responses` (several), perhaps with `prompt` or
`messages` and the `model` that answered; or the shards of a stage that sampled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from croco.asked import digest, text_of_turns
from croco.datafiles import FileRef, is_text, lines_of, prompt_of, read_placed, refer
from croco.errors import DataError, RecipeError
from croco.languages import checked_tag
from croco.reasoning import KNOWN, Markers, separate
from croco.records import Key, Prompt, Responses, Turn
from croco.schemas import decode


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt, and where it is."""

    prompt: Prompt
    where: str

    def is_as(self, other: Asked) -> bool:
        """Whether both ask the same."""
        chats = (text_of_turns(one.prompt.chat) for one in (self, other))
        return len({*map(digest, chats)}) == 1


@dataclass(frozen=True, slots=True)
class Answered:
    """The answers to one prompt, and the prompt itself where the file has it."""

    responses: Responses
    prompt: Prompt | None
    where: str


def refer_rows(names: Sequence[str], folder: Path) -> list[FileRef]:
    """The files of answers or prompts; a folder stands for its shards. RecipeError if there is none."""
    found = []
    for name in names:
        path = folder / Path(name).expanduser()
        shards = sorted(path.glob("shard-*.parquet")) if path.is_dir() else []
        if path.is_dir() and not shards:
            raise RecipeError(f"{path} holds no shards: name a file or a sealed stage")
        found += [refer(str(shard), folder) for shard in shards] or [refer(name, folder)]
    return found


def refer_beside(names: Sequence[str], folder: Path) -> list[FileRef]:
    """The prompts that sealed answers were made from, by what their stage says of its inputs.

    None of files that no stage sealed, and of stages whose prompts are no longer there.
    """
    found: dict[Path, list[FileRef]] = {}
    for name in names:
        path = (folder / Path(name).expanduser()).resolve()
        stage = path if path.is_dir() else path.parent
        identity = _input_of(stage / "stage.json", "prompts")
        if identity and (path.is_dir() or path.suffix == ".parquet"):
            prompts = stage.parent / identity
            found[prompts] = [
                refer(str(shard), folder) for shard in sorted(prompts.glob("shard-*.parquet"))
            ]
    return [file for files in found.values() for file in files]


def _input_of(description: Path, name: str) -> str:
    """The identity of a stage's input, as its folder describes it; "" where it does not."""
    try:
        found = json.loads(description.read_text("utf-8"))["recipe"]["inputs"][name]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return found if isinstance(found, str) else ""


def read_answers(files: Sequence[FileRef], markers: Markers = KNOWN) -> dict[Key, Answered]:
    """All answers by key, separated from their reasoning.

    DataError names the file and line of the first bad row or the second of a key.
    """
    found: dict[Key, Answered] = {}
    for file in files:
        for one in _shard(file) if file.path.suffix == ".parquet" else _lines(file):
            key = one.responses.key
            if key in found:
                raise DataError(
                    f"{one.where}: (id, lang) {key} stands already at {found[key].where}: keep one of"
                    " them, or give several answers to a prompt as 'responses'"
                )
            found[key] = replace(one, responses=_separated(one.responses, markers))
    if not found:
        raise DataError(f"{', '.join(file.label for file in files)}: no answers: fill the file")
    return found


def read_asked(files: Sequence[FileRef]) -> dict[Key, list[Asked]]:
    """Prompts by key, from JSON Lines or from the shards of a stage that read or translated them.

    A key that several files have has a prompt for each: only who needs it can tell whether they agree.
    """
    plain = [file for file in files if file.path.suffix != ".parquet"]
    found: dict[Key, list[Asked]] = {}
    for where, row in read_placed(plain):
        found.setdefault(row.key, []).append(Asked(row, where))
    for file in files:
        if file not in plain:
            for number, values in enumerate(_rows(file, "prompt"), 1):
                before = [Turn(**turn) for turn in values.get("before") or []]
                row = Prompt(values["id"], values["lang"], values["prompt"], before)
                found.setdefault(row.key, []).append(Asked(row, f"{file.label}: row {number}"))
    return found


def _lines(file: FileRef) -> Iterator[Answered]:
    for where, values in lines_of(file):
        key = _key(values, where)
        texts = _texts(values, where)
        row = Responses(
            *key,
            prompt_ids=[],
            texts=texts,
            token_ids=[[] for _ in texts],
            finish_reasons=["" for _ in texts],
            policy=str(values.get("model", "")),
        )
        yield Answered(row, prompt_of({**values, "id": key[0]}, where), where)


def _key(values: dict[str, Any], where: str) -> Key:
    id, lang = values.get("id"), values.get("lang")
    if isinstance(id, bool) or not isinstance(id, str | int) or id == "":
        raise DataError(f"{where}: field 'id' is {id!r}: give each prompt an id")
    try:
        return str(id), checked_tag(str(lang))
    except ValueError as error:
        raise DataError(f"{where}: field 'lang': {error}") from error


def _texts(values: dict[str, Any], where: str) -> list[str]:
    texts = values.get("responses", [values.get("response")])
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise DataError(
            f"{where}: give the answer as 'response', a text, or several as 'responses', a list of texts"
        )
    if not all(map(is_text, texts)):
        raise DataError(f"{where}: an answer holds half a character: mend its escapes")
    return texts


def _separated(row: Responses, markers: Markers) -> Responses:
    """A row with answers as texts; one that was separated when it was sampled stays as it is."""
    answers = [separate(text, markers).answer for text in row.texts]
    if any(row.whole) or answers == row.texts:
        return row
    pairs = zip(row.texts, answers, strict=True)
    whole = [text if text != answer else "" for text, answer in pairs]
    return replace(row, texts=answers, whole=whole)


def _shard(file: FileRef) -> Iterator[Answered]:
    for number, row in enumerate(_rows(file, "texts"), 1):
        yield Answered(decode(Responses, row), None, f"{file.label}: row {number}")


def _rows(file: FileRef, wanted: str) -> list[dict[str, Any]]:
    """The rows of a sealed shard; DataError where they are of another kind."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: list[dict[str, Any]] = pq.read_table(file.unchanged()).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file.label}: not a shard that can be read ({error})") from error
    if rows and wanted not in rows[0]:
        raise DataError(f"{file.label}: its rows have no {wanted!r}: name another stage")
    return rows
