"""Answers that exist already, read from files: what `croco compare` compares.

JSON Lines with `id`, `lang`, and `response` (a text) or `responses` (several), perhaps with `prompt` or
`messages` and the `model` that answered; or the shards of a stage that sampled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from croco.datafiles import FileRef, is_text, lines_of, prompt_of, read_prompts, refer
from croco.errors import DataError, RecipeError
from croco.languages import checked_tag
from croco.reasoning import KNOWN, Markers, separate
from croco.records import Key, Prompt, Responses, Turn
from croco.schemas import decode


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


def read_asked(files: Sequence[FileRef]) -> dict[Key, Prompt]:
    """Prompts by key, from JSON Lines or from the shards of a stage that read or translated them."""
    plain = [file for file in files if file.path.suffix != ".parquet"]
    found = {row.key: row for row in read_prompts(plain)}
    for file in files:
        if file not in plain:
            for row in _rows(file, "prompt"):
                before = [Turn(**turn) for turn in row["before"]]
                found[row["id"], row["lang"]] = Prompt(
                    row["id"], row["lang"], row["prompt"], before
                )
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
    for row in _rows(file, "texts"):
        yield Answered(decode(Responses, row), None, file.label)


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
