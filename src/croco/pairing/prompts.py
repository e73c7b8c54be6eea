"""Prompt files for `croco pair`: parted like the responses to them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from croco.asked import digest, text_of_turns
from croco.errors import DataError
from croco.languages import checked_tag
from croco.pairing.sources import SUFFIXES
from croco.pairing.spool import Spool
from croco.pairing.values import prompt_of, whole_text
from croco.records import Key

#: The reason of a prompt's row that cannot be used.
UNUSABLE = "unusable prompt"


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt as messages, its digest, and the file and line (or row) where it is."""

    messages: list[dict[str, str]]
    digest: int
    file: str
    line: int

    @property
    def where(self) -> str:
        """`FILE:LINE`."""
        return f"{self.file}:{self.line}"


#: Prompts by (id, lang).
Prompts = dict[Key, Asked]


@dataclass(frozen=True, slots=True)
class Listed:
    """The prompts of a part, how many rows repeat one of them, and the rows that are refused."""

    prompts: Prompts
    repeats: int
    refused: list[dict[str, Any]]


def spool_prompts(
    spool: Spool, paths: Sequence[Path], default_lang: str | None
) -> Iterator[dict[str, Any]]:
    """Part all prompts by id; rows that cannot be used are given as they are met."""
    with ExitStack() as stack:
        files = [
            stack.enter_context(_path(spool, k).open("w", encoding="utf-8"))
            for k in range(spool.count)
        ]
        for path in paths:
            for line, text in _rows(path):
                try:
                    id, lang, messages = _prompt(text, default_lang)
                except (ValueError, RecursionError) as error:
                    yield _refused(str(path), line, str(error))
                    continue
                asked = Asked(messages, digest(text_of_turns(messages)), str(path), line)
                row = json.dumps([id, lang, *astuple(asked)], ensure_ascii=False)
                files[spool.part_of(id)].write(row + "\n")


def prompts_of(spool: Spool, k: int) -> Listed:
    """The prompts of a part; a key with two texts has none, and all its rows are refused."""
    found: Prompts = {}
    clashes: dict[Key, list[Asked]] = {}
    repeats = 0
    with _path(spool, k).open(encoding="utf-8") as lines:
        for text in lines:
            id, lang, *rest = json.loads(text)
            one = Asked(*rest)
            first = found.setdefault((id, lang), one)
            if one.digest != first.digest:
                clashes.setdefault((id, lang), []).append(one)
            else:
                repeats += first is not one
    refused = [row for key, others in clashes.items() for row in _clash(found.pop(key), others)]
    return Listed(found, repeats, refused)


def _clash(first: Asked, others: Sequence[Asked]) -> Iterator[dict[str, Any]]:
    """The rows of one key that have different texts, each with the place of another one."""
    for one, other in ((first, others[0]), *((one, first) for one in others)):
        detail = f"{other.where} has another text under the same id and language"
        yield _refused(one.file, one.line, detail)


def _path(spool: Spool, k: int) -> Path:
    return spool.folder / f"part-{k}.prompts"


def _refused(file: str, line: int, detail: str) -> dict[str, Any]:
    return {"file": file, "line": line, "reason": UNUSABLE, "detail": detail}


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Line numbers from 1 with what stands there: bytes of JSON, or a row of Parquet."""
    if path.suffix not in SUFFIXES:
        raise DataError(f"{path}: give a file that ends in .jsonl or .parquet")
    try:
        if path.suffix == ".parquet":
            yield from enumerate(pq.read_table(path).to_pylist(), 1)
            return
        with path.open("rb") as lines:
            yield from ((k, line) for k, line in enumerate(lines, 1) if line.strip())
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read ({error}): mend it or leave it out") from error


def _prompt(text: Any, default_lang: str | None) -> tuple[str, str, list[dict[str, str]]]:
    """A prompt's id, language and messages; ValueError says what is wrong with it."""
    values = json.loads(text.decode("utf-8-sig")) if isinstance(text, bytes) else text
    if not isinstance(values, dict):
        raise ValueError("it is not a JSON object")
    id, lang = values.get("id"), values.get("lang") or default_lang
    if isinstance(id, bool) or not isinstance(id, str | int):
        raise ValueError("it has no id")
    if not isinstance(lang, str):
        raise ValueError("it has no lang")
    return whole_text("id", str(id)), checked_tag(lang), prompt_of(values)
