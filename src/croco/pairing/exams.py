"""What the pair doctor can look at: a folder of `croco pair`, files of pairs from anywhere, a run's arm."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from croco.errors import DataError
from croco.pairing.doctor import IDENTIFIED, NUMBERS, Exam, Pairs
from croco.pairing.output import tables_in
from croco.reasoning import answer_of
from croco.recipe import PairConfig
from croco.records import Pairs as PairsRow
from croco.schemas import encode
from croco.stage import Stage

#: A language that nobody named.
UNKNOWN = "und"
#: Names under which files of pairs have the rewards of their sides.
REWARDS = ("{}_reward", "score_{}", "{}_score", "{}_rating")


class _Gathered:
    """Pairs as columns; both texts are kept of the first of every language."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.samples: dict[int, tuple[str, str]] = {}
        self.seen: dict[str, int] = {}

    def add(
        self,
        id: str,
        langs: tuple[str, str, str],
        rewards: tuple[float, float],
        texts: tuple[str, str],
        cut_off: tuple[int, int],
    ) -> None:
        seen = self.seen[langs[0]] = self.seen.get(langs[0], 0) + 1
        if seen <= IDENTIFIED and langs[0] != UNKNOWN:
            self.samples[len(self.rows)] = texts
        self.rows.append((id, *langs, *rewards, *map(len, texts), *cut_off))

    def pairs(self) -> Pairs:
        columns = list(zip(*self.rows, strict=True)) if self.rows else [()] * 10
        kinds = [object] * 4 + [np.float64] * 2 + [np.int64] * 4
        found = (np.array(one, kind) for one, kind in zip(columns, kinds, strict=True))
        return Pairs(*found, samples=self.samples)  # type: ignore[arg-type,misc]


def of_folder(folder: Path) -> Exam:
    """A folder that `croco pair` wrote."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        pools = pq.read_table(folder / "pools.parquet")
        pools.select(NUMBERS)  # KeyError where an older version wrote it
        return Exam(
            name=str(folder),
            config=PairConfig(**summary["settings"]),
            pairs=_from_files(tables_in(folder, "pairs"), UNKNOWN)[0],
            pools=pools,
            raw=summary["matrix_of_raw_rewards"],
            on_policy=summary["on_policy"],
        )
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{folder} is not a folder that croco pair wrote ({error}): run croco pair again"
        ) from error


def of_files(files: Sequence[Path], lang: str | None = None) -> tuple[Exam, int]:
    """Files of pairs (`chosen` and `rejected`, texts or messages), and how many rows are no pairs.

    `lang` is the language of rows that name none.
    """
    pairs, bad = _from_files(files, lang or UNKNOWN)
    if not len(pairs.id):
        raise DataError(
            f"{files[0]}: no row has chosen and rejected: give pairs or scored responses"
        )
    return Exam(name=", ".join(map(str, files)), config=PairConfig(), pairs=pairs), bad


def are_pairs(path: Path) -> bool:
    """Whether a file's first row has chosen and rejected."""
    first = next(_objects([path]), None)
    return isinstance(first, dict) and {"chosen", "rejected"} <= first.keys()


def writer_of(sampling: Stage) -> str:
    """The name under which a run's own policy signs its answers."""
    policy = sampling.config.policy  # type: ignore[attr-defined]
    return f"{policy.name}@{policy.revision}"


def of_rows(name: str, config: PairConfig, rows: Iterable[PairsRow], policy: str | None) -> Exam:
    """The rows of a run's pairing; `policy` is the model that is tuned on them."""
    gathered, pools = _Gathered(), []
    raw: dict[str, dict[str, int]] = {}
    written = {"chosen": 0, "rejected": 0}
    for row in rows:
        for pair in row.pairs:
            sides = pair.chosen, pair.rejected
            gathered.add(
                row.id,
                (pair.prompt_lang, sides[0].lang, sides[1].lang),
                (sides[0].reward, sides[1].reward),
                (sides[0].text, sides[1].text),
                (int(sides[0].finish_reason == "length"), int(sides[1].finish_reason == "length")),
            )
            written["chosen"] += sides[0].policy == policy
            written["rejected"] += sides[1].policy == policy
        for one, other in row.raw:
            raw.setdefault(one, {})[other] = raw.get(one, {}).get(other, 0) + 1
        pools.append({k: v for k, v in encode(row).items() if k not in ("pairs", "barred", "raw")})
    pairs = gathered.pairs()
    shares = {side: n / len(pairs.id) if len(pairs.id) else None for side, n in written.items()}
    return Exam(
        name=name,
        config=config,
        pairs=pairs,
        pools=pa.Table.from_pylist(pools) if pools else None,
        raw=raw or None,
        on_policy={"policy": policy, **shares},
    )


def _from_files(files: Sequence[Path], default_lang: str) -> tuple[Pairs, int]:
    gathered, bad = _Gathered(), 0
    for number, values in enumerate(_objects(files)):
        try:
            lang = values.get("prompt_lang") or values.get("lang") or default_lang
            langs = (lang, values.get("chosen_lang") or lang, values.get("rejected_lang") or lang)
            if not all(isinstance(one, str) for one in langs):
                raise TypeError
            id = values.get("id")
            gathered.add(
                str(number if id is None else id),
                langs,
                (_reward(values, "chosen"), _reward(values, "rejected")),
                (_text(values["chosen"]), _text(values["rejected"])),
                (_cut_off(values, "chosen"), _cut_off(values, "rejected")),
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            bad += 1
    return gathered.pairs(), bad


def _objects(files: Sequence[Path]) -> Iterator[Any]:
    for path in files:
        try:
            if path.suffix == ".parquet":
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(batch_size=1024):
                        yield from batch.to_pylist()
            else:
                with path.open("rb") as lines:
                    yield from (_object(line) for line in lines if line.strip())
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{path} cannot be read ({error}): give a file of pairs") from error


def _object(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _text(side: Any) -> str:
    """A side's answer: it is a text, or a conversation whose last turn it is."""
    text = side if isinstance(side, str) else side[-1]["content"]
    if not isinstance(text, str):
        raise TypeError
    return answer_of(text)


def _reward(values: dict[str, Any], side: str) -> float:
    for name in REWARDS:
        if (value := values.get(name.format(side))) is not None:
            return float(value)
    return float("nan")


def _cut_off(values: dict[str, Any], side: str) -> int:
    reason = values.get(f"{side}_finish_reason")
    return -1 if reason is None else int(reason == "length")
