"""The log of a training: a JSON line per optimizer step and per look, kept over a kill."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from croco.records import Step

NAME = "log.jsonl"


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen on held-out prompts after a step.

    Log-probabilities and the loss are means in nats per response, `length` is in tokens, `repetition` the
    share of three-word runs that stood earlier in the answer, `fidelity` the share of answers in the
    prompt's language. NaN where there is nothing to see (SFT has no rejected responses).
    """

    step: int
    chosen_logp: float
    rejected_logp: float
    margin: float = math.nan
    accuracy: float = math.nan
    length: float = math.nan
    repetition: float = math.nan
    fidelity: float = math.nan
    alerts: list[str] = field(default_factory=list)


class Log:
    """Reads what an earlier attempt logged up to a step, and goes on from there."""

    def __init__(self, path: Path, upto: int = 0, write: bool = True) -> None:
        self.path, self.write = path, write
        self.steps: list[Step] = []
        self.looks: list[Look] = []
        for line in read(path):
            if line["step"] <= upto:
                self._take(line)
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(map(_line, self._rows())), encoding="utf-8")

    def add(self, row: Step | Look) -> None:
        """One more line, written at once."""
        self._keep(row)
        if self.write:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(row))

    def _take(self, line: dict[str, Any]) -> None:
        kind = line.pop("kind")
        known: dict[str, Any] = {n: math.nan if v is None else v for n, v in line.items()}
        self._keep(Step(**known) if kind == "step" else Look(**known))

    def _keep(self, row: Step | Look) -> None:
        if isinstance(row, Step):
            self.steps.append(row)
        else:
            self.looks.append(row)

    def _rows(self) -> list[Step | Look]:
        both: list[Step | Look] = [*self.steps, *self.looks]
        return sorted(both, key=lambda row: (row.step, isinstance(row, Look)))


def read(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; a torn last one is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def looks(path: Path) -> list[Look]:
    """The looks of a log."""
    return Log(path, upto=2**62, write=False).looks


def _line(row: Step | Look) -> str:
    values = {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(row).items()
    }
    return json.dumps({"kind": "step" if isinstance(row, Step) else "look"} | values) + "\n"
