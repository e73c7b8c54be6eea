"""EuroEval's results file, one JSON object a line, in either of the forms that its versions write.

Up to 16.17 a line is flat (`dataset`, `results.raw`, `results.total`); from 17.0 it follows the schema
"Every Eval Ever" 0.2.1, in which raw scores are JSON inside a string and a metric says whether lower is
better. Both are read, other keys are passed over. A data set's score is its task's first metric, as on
EuroEval's leaderboards.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from croco.errors import DataError

#: Answers of models stand in some lines, with all that Unicode takes for the end of a line.
NEWLINE = "\n"


@dataclass(frozen=True, slots=True)
class Result:
    """A line: a model on a data set. Scores are in points of 100, one per iteration, `score` their mean.

    `radius` is half of EuroEval's own 95 % interval, 1.96 standard errors over iterations, or NaN.
    """

    dataset: str
    model: str
    task: str
    languages: list[str]
    metric: str
    scores: list[float]
    score: float
    radius: float
    failed: int
    version: str
    lower_is_better: bool = False


@dataclass(frozen=True, slots=True)
class Dropped:
    """A line that is not used: its number, from 1, and why."""

    line: int
    reason: str


def read_results(path: Path) -> tuple[list[Result], list[Dropped]]:
    """The results in a file, the last one of a data set and model, and the lines that are not used.

    A bad line costs itself alone. Raises DataError where there is no such file or it is not text.
    """
    try:
        lines = path.read_text(encoding="utf-8").split(NEWLINE)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read ({error}): give a results file of EuroEval"
        ) from error
    found: dict[tuple[str, str], tuple[int, Result]] = {}
    dropped = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            result = parse(line)
        except ValueError as error:
            dropped.append(Dropped(number, str(error)))
            continue
        key = result.dataset, result.model
        if key in found:
            dropped.append(Dropped(found[key][0], f"{result.dataset}: done again in line {number}"))
        found[key] = number, result
    results = [result for _, result in found.values()]
    return results, sorted(dropped, key=lambda one: one.line)


def keep_whole_lines(path: Path) -> None:
    """Take lines that are no JSON out of a results file: EuroEval refuses the whole file for one."""
    if path.exists():
        lines = path.read_text(encoding="utf-8", errors="replace").split(NEWLINE)
        whole = [line for line in lines if _is_json(line)]
        path.write_text("".join(f"{line}\n" for line in whole), encoding="utf-8")


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def parse(line: str) -> Result:
    """The result in a line; ValueError that says what is wrong with it."""
    try:
        values = json.loads(line)
    except ValueError as error:
        raise ValueError("not whole JSON") from error
    try:
        return _schema_form(values) if "schema_version" in values else _flat_form(values)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"no result of EuroEval: {type(error).__name__} {error}") from error


def _flat_form(values: dict[str, Any]) -> Result:
    total = values["results"]["total"]
    raw = values["results"]["raw"]
    raw = raw.get("test", []) if isinstance(raw, dict) else raw
    name = next(key for key in [*total, ""] if not key.endswith(("_se", "num_failed_instances")))
    if not name:
        raise ValueError(f"{values['dataset']}: there is no metric")
    return _result(
        values["dataset"],
        values["model"],
        values["task"],
        values.get("languages") or values.get("dataset_languages") or [],
        name,
        raw,
        total[name],
        total.get(f"{name}_se", math.nan),
        total.get("num_failed_instances", 0),
        values.get("euroeval_version") or "",
    )


def _schema_form(values: dict[str, Any]) -> Result:
    library = values["eval_library"]
    details = library["additional_details"]
    if not values["evaluation_results"]:
        raise ValueError(f"{details['dataset']}: there is no metric")
    first = values["evaluation_results"][0]
    scored = first["score_details"]
    bounds = scored.get("uncertainty", {}).get("confidence_interval")
    return _result(
        details["dataset"],
        values["model_info"]["id"],
        details["task"],
        json.loads(details.get("languages") or "[]"),
        first["evaluation_name"],
        json.loads(details["raw_results"]),
        scored["score"],
        (bounds["upper"] - bounds["lower"]) / 2 if bounds else math.nan,
        scored.get("details", {}).get("num_failed_instances", 0),
        library.get("version") or "",
        first.get("metric_config", {}).get("lower_is_better", False),
    )


def _result(
    dataset: str,
    model: str,
    task: str,
    languages: list[str],
    name: str,
    raw: Sequence[dict[str, Any]],
    score: float,
    radius: float,
    failed: Any,
    version: str,
    lower_is_better: Any = False,
) -> Result:
    metric = name.removeprefix("test_")
    # Models that are finetuned have the prefix in raw scores too.
    scores = [float(one[metric] if metric in one else one[f"test_{metric}"]) for one in raw]
    if not scores or not all(map(math.isfinite, [*scores, score])):
        raise ValueError(f"{dataset}: {metric} has no score, or one that is no number")
    if not isinstance(lower_is_better, bool):
        raise ValueError(f"{dataset}: lower_is_better is {lower_is_better!r}, not true or false")
    unit = _unit(scores, float(score), f"{dataset}: {metric}")
    return Result(
        dataset=str(dataset),
        model=str(model),
        task=str(task),
        languages=[str(lang) for lang in languages],
        metric=metric,
        scores=[unit * one for one in scores],
        score=float(score),
        radius=float(radius),
        failed=int(float(failed)),
        version=str(version),
        lower_is_better=lower_is_better,
    )


def _unit(scores: Sequence[float], score: float, what: str) -> float:
    """What raw scores are to be multiplied by: some metrics have them as shares, some in points of 100.

    The total is in points and is their mean, so it tells which; ValueError where it is neither's.
    """
    mean = math.fsum(scores) / len(scores)
    units = (100.0, 1.0) if max(map(abs, scores)) <= 1 else (1.0, 100.0)
    for unit in units:
        if math.isclose(unit * mean, score, rel_tol=1e-6, abs_tol=1e-6):
            return unit
    raise ValueError(f"{what} is {score}, which is not the mean of its {len(scores)} iterations")
