"""The log of a training: a JSON line per optimizer step and per look, kept over a kill."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from croco.records import Step

NAME, DATA = "log.jsonl", "data.json"


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen on held-out prompts after a step.

    Log-probabilities and the loss are means in nats per response, `length` is in tokens, `repetition` the
    share of three-word runs that stood earlier in the answer, `fidelity` the share of answers in the
    prompt's language, without the `cannot_tell` whose language cannot be told. NaN where there is nothing
    to see (SFT has no rejected responses).
    """

    step: int
    chosen_logp: float
    rejected_logp: float
    margin: float = math.nan
    accuracy: float = math.nan
    length: float = math.nan
    repetition: float = math.nan
    fidelity: float = math.nan
    cannot_tell: int = 0


@dataclass(frozen=True, slots=True)
class Alert:
    """What may have gone wrong, told after a step."""

    step: int
    alert: str


Row = Step | Look | Alert
KINDS: dict[str, type[Row]] = {"step": Step, "look": Look, "alert": Alert}


class Log:
    """Reads what an earlier attempt logged up to a step, and goes on from there."""

    def __init__(self, path: Path, upto: int = 0, write: bool = True) -> None:
        self.path, self.write = path, write
        self.rows = [row for row in map(_row, read(path)) if row.step <= upto]
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(map(_line, self.rows)), encoding="utf-8")

    @property
    def steps(self) -> list[Step]:
        """The training curve."""
        return [row for row in self.rows if isinstance(row, Step)]

    @property
    def looks(self) -> list[Look]:
        """What was seen on held-out prompts."""
        return [row for row in self.rows if isinstance(row, Look)]

    def add(self, row: Row) -> None:
        """One more line, written at once."""
        self.rows.append(row)
        if self.write:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(row))


def read(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; a torn last one is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def looks(path: Path) -> list[Look]:
    """The looks of a log."""
    return [row for row in map(_row, read(path)) if isinstance(row, Look)]


def alerts(path: Path) -> list[tuple[int, str]]:
    """The alerts of a log, each with its step."""
    return [(row.step, row.alert) for row in map(_row, read(path)) if isinstance(row, Alert)]


def _row(line: dict[str, Any]) -> Row:
    known: dict[str, Any] = {n: math.nan if v is None else v for n, v in line.items()}
    return KINDS[known.pop("kind")](**known)


def _line(row: Row) -> str:
    values = {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(row).items()
    }
    return json.dumps({"kind": type(row).__name__.lower()} | values) + "\n"
