"""Training as a library: preference pairs in, an adapter out, without a recipe."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from croco import models
from croco.datafiles import read_preferences, refer
from croco.errors import DataError, RecipeError
from croco.models import ModelRef
from croco.plugins import require
from croco.records import Preference, Step
from croco.settings import Resources
from croco.stage import Progress
from croco.texts import is_blank, same_text
from croco.tokens import answer_ids, load_tokenizer, prompt_ids
from croco.training import Example, Job, Place, load
from croco.training.launch import EXAMPLES, JOB, write_job
from croco.training.schedule import few, steps_of
from croco.training_settings import TrainConfig

log = logging.getLogger("croco")

Pairs = str | Path | Sequence[Mapping[str, Any]]


def train_dpo(
    policy: str | Path,
    pairs: Pairs,
    out: str | Path,
    *,
    seed: int = 42,
    start: str | Path | None = None,
    resources: Resources | None = None,
    progress: Progress = lambda done, total, text: None,
    **settings: Any,
) -> list[Step]:
    """Tune a policy on preference pairs by DPO, and write the adapter with its tokenizer to `out`.

    `policy` is a directory, a hub id or a short name; `pairs` a file of preferences (JSON Lines or
    Parquet: id, lang, prompt, chosen, rejected), or rows with those keys, of which only the last three
    are needed. `start` is the folder of an adapter to go on from, which is then the reference. `settings`
    are those of a recipe's `train` (TrainConfig). Checkpoints lie in `OUT.work` until all is done: the same
    call goes on from them. Gives the training curve, one row per optimizer step. Raises DataError for a bad
    row, RecipeError for a bad setting, where `out` exists, and where a package that training needs is not
    installed, EngineError where training fails.
    """
    require(__name__, "train_dpo")
    folder = Path(out)
    if folder.exists():
        raise RecipeError(f"{folder} exists already: remove it or name another folder")
    config = _config(settings)
    ref = models.resolve(str(policy), Path())
    examples = _examples(ref, _preferences(pairs), config.method)
    job = Job(config, ref, examples, start=Path(start) if start else None, seed=seed)
    if remark := few(steps_of(len(examples), config.batch_size, config.epochs)):
        log.warning("train_dpo: %s", remark)
    work = folder.with_name(f"{folder.name}.work")
    return _whole(job, Place(folder, work, resources or Resources(), progress))


def _whole(job: Job, place: Place) -> list[Step]:
    """Train, and put the files in place when they are whole; work of another job is refused."""
    mine, new, made = (place.work / name for name in ("same", "new", "out"))
    write_job(job, place, new)
    if mine.exists() and _what(mine) != _what(new):
        shutil.rmtree(new)
        raise RecipeError(
            f"{place.work} holds checkpoints of other pairs or settings: remove it, or name another folder"
        )
    shutil.rmtree(mine, ignore_errors=True)
    new.rename(mine)
    shutil.rmtree(made, ignore_errors=True)
    steps = load(job.config.trainer)(job, replace(place, out=made))
    made.rename(place.out)
    shutil.rmtree(place.work)
    return steps


def _what(folder: Path) -> tuple[dict[str, Any], bytes]:
    """What a job computes, apart from where."""
    values = json.loads((folder / JOB).read_text(encoding="utf-8"))
    where = ("resources", "out", "work")
    rest = {name: value for name, value in values.items() if name not in where}
    return rest, (folder / EXAMPLES).read_bytes()


def _config(settings: dict[str, Any]) -> TrainConfig:
    import pydantic

    try:
        return TrainConfig.model_validate(settings)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "settings"
        raise RecipeError(f"train_dpo: {where}: {first['msg']}") from error


def _preferences(pairs: Pairs) -> list[Preference]:
    if isinstance(pairs, str | Path):
        return read_preferences([refer(str(pairs), Path())])
    rows = []
    for place, row in enumerate(pairs):
        missing = [
            name for name in ("prompt", "chosen", "rejected") if is_blank(row.get(name) or "")
        ]
        if missing:
            raise DataError(f"pairs[{place}] has no {missing[0]!r}: give prompt, chosen, rejected")
        id, lang = str(row.get("id", place)), str(row.get("lang", "und"))
        rows.append(Preference(id, lang, row["prompt"], row["chosen"], row["rejected"]))
    return rows


def _examples(policy: ModelRef, rows: Sequence[Preference], method: str) -> list[Example]:
    """Texts as the policy's own token ids, with the end of turn."""
    tokenizer = load_tokenizer(policy)
    examples = []
    for row in rows:
        before = [{"role": turn.role, "content": turn.content} for turn in row.before]
        ids = prompt_ids(tokenizer, [*before, {"role": "user", "content": row.prompt}])
        chosen, rejected = (answer_ids(tokenizer, t, True) for t in (row.chosen, row.rejected))
        if same_text(row.chosen) == same_text(row.rejected):
            rejected = chosen  # training leaves the pair out
        examples.append(Example(ids, chosen, rejected if method == "dpo" else [], row.id, row.lang))
    return examples
