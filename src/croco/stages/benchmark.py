"""Benchmarking: EuroEval, in an environment of its own, on the policy or on an arm's adapter."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field

from croco import models
from croco.errors import OwedError, StageError
from croco.euroeval import (
    RESULTS,
    Result,
    command,
    keep_whole_lines,
    prepared,
    read_results,
    stand_in,
    surroundings,
)
from croco.models import ModelRef
from croco.records import Benchmarked
from croco.settings import Section
from croco.stage import Context

LOG = "euroeval.log"
#: What a line for people does not show: colours and other control characters.
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
#: Seconds that EuroEval has to end when the run is stopped.
GRACE = 15


class Config(Section):
    """The policy, data sets by language, EuroEval's settings; how many may fail is not in the identity."""

    policy: ModelRef
    datasets: dict[str, list[str]]
    iterations: int
    split: str
    packages: list[str]
    extra: list[str]
    allow_failed: float = Field(0.0, exclude=True)


def benchmark(config: Config, context: Context) -> list[Benchmarked]:
    """One row per data set; the results file and EuroEval's log are the stage's files.

    An interrupted run goes on: what is done stays in a folder beside the stage's own until the stage is
    sealed. Raises StageError where EuroEval fails and OwedError where data sets have no result, unless
    `allow_failed` lets that share be without; their rows then say why.
    """
    environment = context.resources.environment
    wanted = [name for names in config.datasets.values() for name in names]
    python = prepared(config.packages, environment, lambda say: context.progress(0, 1, say))
    # Unlike `context.files`, this is still there when the work is taken up again.
    folder = context.files.parent / "euroeval"
    folder.mkdir(exist_ok=True)
    adapter = context.inputs["adapter"].files if "adapter" in context.inputs else None
    policy, adapter = models.tuned(config.policy, adapter)
    model = stand_in(models.fetch(policy), adapter, folder / "model")
    cache = Path(environment.cache or models.cache_folder().parent / "euroeval").expanduser()
    line = command(
        python,
        model,
        wanted,
        config.iterations,
        config.split,
        cache.absolute(),
        context.resources.device,
        context.resources.memory_share,
        config.extra,
    )
    keep_whole_lines(folder / RESULTS)
    _run(line, folder, context, len(wanted))
    found, reasons = _results(folder / RESULTS)
    _refuse_missing(config, folder / LOG, wanted, found, reasons)
    for name in (RESULTS, LOG):
        shutil.copy(folder / name, context.files / name)
    return [
        _row(lang, name, found.get(name), reasons.get(name))
        for lang, names in config.datasets.items()
        for name in names
    ]


def _run(line: Sequence[str], folder: Path, context: Context, wanted: int) -> None:
    """Run EuroEval to its end, its words to a log and to progress; StageError where it fails."""
    last, done = "", _Done(folder / RESULTS)
    with (
        (folder / LOG).open("a", encoding="utf-8") as log,
        _process(line, folder, surroundings(context.resources.device)) as process,
    ):
        for text in process.stdout or ():
            log.write(text)
            log.flush()
            last = _shown(text) or last
            context.progress(min(done.count(), wanted - 1), wanted, last)
    code = process.returncode
    if code:
        raise StageError(
            f"EuroEval ended with exit code {code} ({last or 'it said nothing'}) after"
            f" {done.count()} of {wanted} data sets, which are kept: mend the cause, which"
            f" {folder / LOG} tells, and run again"
        )


@contextmanager
def _process(
    line: Sequence[str], folder: Path, more: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """A process that does not outlive the block."""
    process = subprocess.Popen(
        line,
        cwd=folder,
        env=os.environ | more,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        yield process
        process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()


def _shown(text: str) -> str:
    """The last thing that a line says, without control characters, short enough for a line of progress."""
    return CONTROL.sub("", text.rstrip().rpartition("\r")[2]).strip()[:160]


class _Done:
    """Counts results, which EuroEval may write megabytes of: the file is read when it has grown."""

    def __init__(self, path: Path) -> None:
        self.path, self.size, self.found = path, 0, 0

    def count(self) -> int:
        size = self.path.stat().st_size if self.path.exists() else 0
        if size != self.size:
            self.size, self.found = size, len(read_results(self.path)[0])
        return self.found


def _results(path: Path) -> tuple[dict[str, Result], dict[str, str]]:
    """The results by data set, and of lines that cannot be used where they are and why."""
    if not path.exists():
        return {}, {}
    results, dropped = read_results(path)
    reasons = {}
    for one in dropped:
        name, _, why = one.reason.partition(": ")
        reasons[name] = f"{path.name}:{one.line}: {why or name}"
    return {result.dataset: result for result in results}, reasons


def _refuse_missing(
    config: Config,
    log: Path,
    wanted: Sequence[str],
    found: Mapping[str, Result],
    reasons: Mapping[str, str],
) -> None:
    missing = [name for name in wanted if name not in found]
    if missing and (len(missing) > config.allow_failed * len(wanted) or not found):
        why = next((f" ({reasons[name]})" for name in missing if name in reasons), "")
        raise OwedError(
            f"EuroEval gave no result on {len(missing)} of {len(wanted)} data sets:"
            f" {', '.join(missing)}{why}; {log} says why: run again to try these alone,"
            " leave them out of evaluate.benchmark.datasets, or raise allow_failed to go on without"
        )


def _row(lang: str, name: str, result: Result | None, why: str | None) -> Benchmarked:
    if result is None:
        reason = why or "EuroEval gave no result"
        return Benchmarked(lang, name, "", "", [], math.nan, math.nan, 0, "", reason)
    return Benchmarked(
        lang=lang,
        dataset=name,
        task=result.task,
        metric=result.metric,
        scores=result.scores,
        score=result.score,
        radius=result.radius,
        failed=result.failed,
        version=result.version,
        reason="",
        lower_is_better=result.lower_is_better,
    )
