"""Prompt files for `croco pair`: parted like the responses to them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from croco.errors import DataError
from croco.languages import checked_tag
from croco.pairing.sources import SUFFIXES
from croco.pairing.spool import Spool
from croco.pairing.values import prompt_of, whole_text
from croco.records import Key

#: The reason of a prompt's row that cannot be used.
UNUSABLE = "unusable prompt"
#: A prompt as messages, by (id, lang).
Prompts = dict[Key, list[dict[str, str]]]


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
                    yield _refused(path, line, str(error))
                    continue
                row = json.dumps([id, lang, messages], ensure_ascii=False)
                files[spool.part_of(id)].write(row + "\n")


def prompts_of(spool: Spool, k: int) -> tuple[Prompts, list[Key]]:
    """The prompts of a part; and the keys that stood there twice, of which the first one counts."""
    found: Prompts = {}
    twice = []
    path = _path(spool, k)
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            id, lang, messages = json.loads(line)
            if (id, lang) in found:
                twice.append((id, lang))
            found.setdefault((id, lang), messages)
    return found, twice


def _path(spool: Spool, k: int) -> Path:
    return spool.folder / f"part-{k}.prompts"


def _refused(path: Path, line: int, detail: str) -> dict[str, Any]:
    return {"file": str(path), "line": line, "reason": UNUSABLE, "detail": detail}


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
