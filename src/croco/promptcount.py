"""About how many prompts files hold, without reading millions of them: lines are counted, some are read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress

from croco.datafiles import PromptFiles
from croco.promptsets import HubRef, Located

#: Places of a file at which a line is read to see the languages.
LOOKS = 200


def prompts_in(
    files: Sequence[PromptFiles], languages: Sequence[str], limit: int | None, source: str | None
) -> float | None:
    """The rows of a prompts stage: those of its languages, of the first `limit` ids.

    With a `source` language every id of it is drafted in all languages. None where files are on a hub.
    """
    count = _counted(files, languages, source)
    if count is None:
        return None
    if source:
        return min(max(count.values(), default=0), limit or float("inf")) * len(languages)
    return sum(min(count[lang], limit or float("inf")) for lang in languages)


def ids_in(
    files: Sequence[PromptFiles], languages: Sequence[str], limit: int | None, source: str | None
) -> float | None:
    """The ids of a prompts stage: as many as the language with the most prompts has."""
    count = _counted(files, languages, source)
    return None if count is None else min(max(count.values(), default=0), limit or float("inf"))


def _counted(
    files: Sequence[PromptFiles], languages: Sequence[str], source: str | None
) -> Counter[str] | None:
    """About how many prompts each language has, and the source one; None where files are on a hub."""
    if any(isinstance(one, HubRef) for one in files):
        return None
    wanted = {*languages, *([source] if source else [])}
    count: Counter[str] = Counter()
    for one in files:
        for located in one.located(wanted):
            count.update(_languages(located))
    return Counter({lang: number for lang, number in count.items() if lang in wanted})


def _languages(file: Located) -> dict[str, float]:
    """About how many rows of each language a file has."""
    if file.path.suffix == ".parquet":
        rows, langs = _parquet(file)
    else:
        with file.path.open("rb") as lines:
            rows = sum(piece.count(b"\n") for piece in iter(lambda: lines.read(2**22), b""))
        langs = [file.lang or lang for lang in _looked_at(file, rows)]
    share = Counter(langs)
    return {lang: rows * times / max(1, len(langs)) for lang, times in share.items()}


def _parquet(file: Located) -> tuple[int, list[str]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file.path) as parquet:
        rows = parquet.metadata.num_rows
        if file.lang:
            return rows, [file.lang]
        column = "lang" if "lang" in parquet.schema_arrow.names else "language"
        return rows, parquet.read(columns=[column])[column].to_pylist()


def _looked_at(file: Located, rows: int) -> Iterator[str]:
    """The languages of all lines, or of some at equal distances where there are many."""
    size = file.path.stat().st_size
    with file.path.open("rb") as lines:
        for look in range(LOOKS) if rows > 10 * LOOKS else [None]:
            if look is not None:
                lines.seek(look * size // LOOKS)
                if look:
                    lines.readline()
            for line in [lines.readline()] if look is not None else lines:
                with suppress(ValueError, AttributeError):
                    values = json.loads(line)
                    yield str(values.get("lang") or values.get("language") or "")
