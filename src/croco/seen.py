"""What a reward was trained on, as far as its files say: such pairs tell nothing of it in an audit."""

from __future__ import annotations

import importlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from croco.contamination import overlaps
from croco.datafiles import read_preferences, refer
from croco.errors import DataError
from croco.records import Overlap, Preference, Prompt, Turn
from croco.reward_settings import RewardConfig
from croco.sources import READS

#: The file in a trained model's folder that has the prompts it was trained on.
PROMPTS = Path("training") / "prompts.jsonl"
#: The file of an audit's stage that counts the pairs which the reward was trained on.
COUNTS = "left_out.json"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The pairs to audit on, and what was left out of all of them: ids by how they are known.

    `known` is whether anything says what the reward was trained on.
    """

    kept: list[Preference]
    total: int
    known: bool
    overlaps: list[Overlap]

    @property
    def count(self) -> int:
        """How many pairs are left out."""
        return self.total - len(self.kept)

    @property
    def figures(self) -> dict[str, Any]:
        """The counts as JSON; `by` counts prompts of each kind of likeness (`croco.contamination`)."""
        kinds = Counter(kind for _, kind in {(row.id, row.kind) for row in self.overlaps})
        return {"pairs": self.count, "of": self.total, "by": dict(kinds), "known": self.known}

    @property
    def sentence(self) -> str:
        """One sentence where pairs are left out, else nothing."""
        if not self.count:
            return ""
        by = ", ".join(f"{n} by {kind}" for kind, n in self.figures["by"].items())
        return (
            f"{self.count} of {self.total} pairs are left out: the reward was trained on their prompts, or"
            f" on ones that give them away ({by})"
        )


def write_prompts(folder: Path, trained: Sequence[Preference], base: Path) -> None:
    """Write down what a model is trained on, with what its base was trained on."""
    rows = [*_prompts_in(base), *prompts_of(trained)]
    lines = {json.dumps(asdict(row), ensure_ascii=False): None for row in rows}
    path = folder / PROMPTS
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def unseen_by(reward: RewardConfig, trained: Path | None, pairs: Sequence[Preference]) -> LeftOut:
    """The pairs whose prompts a reward was not trained on, by id, text or n-grams.

    `trained` is the folder of the part that was trained in the run. A pair that is given away in one
    language is left out in all.
    """
    seen = [*(_prompts_in(trained) if trained else []), *_seen_by(reward)]
    found = overlaps(seen, prompts_of(pairs)) if seen else []
    away = {row.id for row in found}
    kept = [one for one in pairs if one.id not in away]
    return LeftOut(kept, len(pairs), bool(seen), found)


def prompts_of(preferences: Sequence[Preference]) -> list[Prompt]:
    """The prompts of some preferences."""
    return [Prompt(one.id, one.lang, one.prompt, one.before) for one in preferences]


def _seen_by(reward: RewardConfig) -> Iterator[Prompt]:
    """The prompts that the models and functions in a reward say they were trained on."""
    for one in reward.walk():
        if one.model and one.ref.location:
            yield from _prompts_in(Path(one.ref.location))
        if one.function:
            yield from _read_by(one.function.partition(":")[0])


def _prompts_in(folder: Path) -> Iterator[Prompt]:
    path = folder / PROMPTS
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            yield Prompt(**row | {"before": [Turn(**turn) for turn in row["before"]]})


def _read_by(module: str) -> Iterator[Prompt]:
    """The prompts of preference files that a module declares as data that it reads."""
    loaded = importlib.import_module(module)
    if loaded.__file__ is None:
        return
    for name in getattr(loaded, READS, []):
        path = Path(loaded.__file__).parent / name
        try:
            yield from prompts_of(read_preferences([refer(str(path.resolve()), Path())]))
        except DataError:  # other data, such as a word list
            continue
