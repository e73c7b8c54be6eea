"""What a run will cost, before it is spent: rows, tokens, storage and device-hours of every stage.

What was measured before counts first, in this artifact or in another of the same model (`pace`); then what
the user gives; then bounds from the recipe, which are marked as such.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from croco import describing
from croco.errors import DataError, RecipeError
from croco.pace import paces, rates
from croco.plan import Line
from croco.promptcount import prompts_in
from croco.recipe import StageKind
from croco.runs import Run
from croco.stage import Stage

#: What `table` has in its columns.
HEAD = f"{'rows':>8} {'tokens':>8} {'bytes':>8} {'device-h':>9}"
#: Bytes of a sampled token on disk where nothing was measured: some four of text, four of its id.
TOKEN_BYTES = 8
#: What in a stage's config makes its speed comparable with another artifact's.
SPEED = {
    "sample": "policy",
    "score": "reward",
    "judge": "judge",
    "translate": "translate",
    "loss": "policy",
    "language": "identifier",
}


@dataclass(frozen=True)
class Cost:
    """A stage's rows, tokens and bytes when it is done, and the device-seconds that are owed.

    None where nobody can tell; `bound`: the tokens, and what follows from them, are the most there can be.
    """

    rows: float | None = None
    tokens: float | None = None
    bytes: float | None = None
    seconds: float | None = None
    bound: bool = False


@dataclass(frozen=True)
class _Measured:
    """Means of artifacts like a stage's: per row, and device-seconds per row and per token."""

    tokens: float | None
    bytes: float | None
    seconds: float | None
    token_seconds: float | None


class Costs:
    """The costs of a run's stages; `given` are tokens per second and device, by kind of stage."""

    def __init__(self, run: Run, lines: Mapping[str, Line], given: Mapping[str, float]) -> None:
        self.run, self.lines, self.given = run, lines, given
        self.known: dict[str, Cost] = {}

    def of(self, stage: Stage) -> Cost:
        """A stage's cost; its inputs' are found on the way."""
        if stage.name not in self.known:
            self.known[stage.name] = self._cost(stage)
        return self.known[stage.name]

    def _cost(self, stage: Stage) -> Cost:
        measured = self._measured(stage)
        rows = self._rows(stage)
        tokens, bound = self._tokens(stage, rows, measured)
        line = self.lines[stage.name]
        owed = 1 - line.shards_done / line.shards
        return Cost(
            rows,
            tokens,
            self._bytes(stage, rows, tokens, measured),
            self._seconds(stage, rows, tokens, measured, owed),
            bound,
        )

    def _rows(self, stage: Stage) -> float | None:
        line = self.lines[stage.name]
        if line.shards_done:
            return line.rows / line.shards_done * stage.shards
        if stage.kind == "prompts" and hasattr(stage.config, "limit"):
            own: Any = stage.config
            return prompts_in(own.files, own.languages, own.limit, own.source)
        if stage.unit == "whole":
            return None
        rows = self.of(next(iter(stage.inputs.values()))).rows
        recipe = self.run.recipe
        pair = getattr(stage.config, "pair", None)
        if rows and pair and pair.scope == "multilingual":
            return rows / max(1, len(recipe.languages))
        return rows

    def _tokens(
        self, stage: Stage, rows: float | None, measured: _Measured
    ) -> tuple[float | None, bool]:
        """Sampled tokens, or those that are read; and whether they are only a bound."""
        own: Any = stage.config
        if stage.kind == "sample" and rows is not None:
            if measured.tokens:
                return rows * measured.tokens, False
            return rows * own.sampling.n * own.sampling.max_tokens, True
        inputs = stage.inputs
        if stage.kind == "train":
            return self._trained(stage)
        if stage.kind in ("score", "judge"):
            read = [self.of(one) for one in inputs.values() if one.kind == "sample"]
            if all(one.tokens is not None for one in read):
                return sum(one.tokens or 0 for one in read), any(one.bound for one in read)
        return None, False

    def _trained(self, stage: Stage) -> tuple[float | None, bool]:
        """Tokens that training reads; of a training that samples for itself, those that it samples."""
        own: Any = stage.config
        if "pair" not in stage.inputs:
            prompts = self.of(stage.inputs["prompts"]).rows
            each = own.online.n * own.sampling.max_tokens
            return None if prompts is None else prompts * own.train.epochs * each, True
        sampled, pairs = _sampled(stage), self.of(stage.inputs["pair"])
        answers, sampling = self.of(sampled), getattr(sampled.config, "sampling")  # noqa: B009
        if not (answers.tokens and answers.rows and pairs.rows):
            return None, False
        made = getattr(stage.inputs["pair"].config, "pair").pairs_per_pool  # noqa: B009
        sides = 1 if own.train.method == "sft" else 2 * made
        each = answers.tokens / answers.rows / sampling.n
        return pairs.rows * sides * own.train.epochs * each, answers.bound

    def _bytes(
        self, stage: Stage, rows: float | None, tokens: float | None, measured: _Measured
    ) -> float | None:
        if rows is not None and measured.bytes:
            return rows * measured.bytes
        if stage.kind == "sample" and tokens is not None:
            return tokens * TOKEN_BYTES
        return None

    def _seconds(
        self,
        stage: Stage,
        rows: float | None,
        tokens: float | None,
        measured: _Measured,
        owed: float,
    ) -> float | None:
        rate = self.given.get(stage.kind, self.given.get(""))
        if not owed:
            return 0.0
        if rate and tokens is not None:
            return owed * tokens / rate
        if tokens is not None and measured.token_seconds:
            return owed * tokens * measured.token_seconds
        if rows is not None and measured.seconds:
            return owed * rows * measured.seconds
        return None

    def _measured(self, stage: Stage) -> _Measured:
        """What this artifact's makers told, or else those of others like it; per row of the stage's n."""
        for roots in ([self.run.store.root / stage.identity], self._alike(stage)):
            made = rates([one for root in roots for one in paces(root)])
            sizes = [path.stat() for root in roots for path in root.glob("shard-*.parquet")]
            if not made["rows"]:
                continue
            rows = made["rows"]
            return _Measured(
                made["tokens"] / rows,
                sum(one.st_size for one in sizes) / rows if sizes else None,
                made["seconds"] / rows,
                made["seconds"] / made["tokens"] if made["tokens"] else None,
            )
        return _Measured(None, None, None, None)

    def _alike(self, stage: Stage) -> list[Path]:
        """The folder of another artifact of the same kind, model and number of answers, if there is one."""
        key = SPEED.get(stage.kind)
        if key is None:
            return []
        wanted = _of_speed(stage.recipe, key)
        found = []
        for path in self.run.store.root.glob(f"{stage.kind}-*"):
            with suppress(DataError, KeyError, TypeError, OSError):
                if _of_speed((describing.read(path) or {})["recipe"], key) == wanted:
                    found.append(path)
        return found


def _sampled(stage: Stage) -> Stage:
    """The sampling of the answers that a stage reads, perhaps encoded anew."""
    source = stage.inputs["sample"]
    return source if source.kind == "sample" else _sampled(source)


def _of_speed(recipe: dict[str, Any], key: str) -> Any:
    config = recipe["config"]
    sampling = config.get("sampling") or {}
    return config[key], sampling.get("n"), sampling.get("max_tokens"), sampling.get("engine")


def rates_of(given: Sequence[str]) -> dict[str, float]:
    """Tokens per second by kind of stage, "" for all, from `2500` or `sample=2500`; else RecipeError."""
    found = {}
    for one in given:
        kind, _, number = one.rpartition("=")
        try:
            found[kind] = float(number)
        except ValueError:
            found[kind] = 0.0
        if not found[kind] > 0 or kind not in ("", *get_args(StageKind)):
            raise RecipeError(
                f"--tokens-per-second {one!r}: give a number, or a kind of stage and a number such as"
                " sample=2500"
            )
    return found


def table(stages: Mapping[str, Stage], costs: Costs) -> Iterator[str]:
    """A line per stage in words, and a last one of all of them."""
    known = [costs.of(stage) for stage in stages.values()]
    for cost in known:
        yield _words(cost)
    # The same work under several names is done once.
    once = {stage.identity: stage for stage in stages.values()}
    known = [costs.of(stage) for stage in once.values()]
    yield _words(
        Cost(
            None,
            sum(
                one.tokens or 0
                for stage, one in zip(once.values(), known, strict=True)
                if stage.kind == "sample"
            ),
            sum(one.bytes or 0 for one in known),
            sum(one.seconds or 0 for one in known),
            any(one.bound for one in known),
        )
    )


def _words(cost: Cost) -> str:
    hours = None if cost.seconds is None else cost.seconds / 3600
    rows, *others = map(short, (cost.rows, cost.tokens, cost.bytes, hours))
    tokens, size, time = (f"<{one}" if cost.bound and one != "-" else one for one in others)
    return f"{rows:>8} {tokens:>8} {size:>8} {time:>9}"


def short(value: float | None) -> str:
    """A number in three digits with k, M, G or T; `-` for none."""
    if value is None:
        return "-"
    for unit in ("", "k", "M", "G", "T"):
        if value < 999.5 or unit == "T":
            break
        value /= 1000
    return f"{value:.0f}{unit}" if value >= 100 or value == int(value) else f"{value:.2g}{unit}"
