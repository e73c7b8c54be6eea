"""SFT trains on the best answer of every pool: what `croco pair --sft` writes, with a pair or without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from croco.examples import examples_of, trained_on
from croco.pairing.files import Options, pair_files
from croco.recipe import PairConfig
from croco.records import Pairs, Responses, Rewards
from croco.schemas import encode, schema
from croco.settings import Resources
from croco.stage import Context
from croco.stages.pair import Config, pair
from croco.store import Artifact

LANGUAGES = ("en", "es")
CONFIGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "a large gap": {"filters": {"min_gap": 2.0}},
    "no answer that is cut off": {"filters": {"cut_off": "drop"}},
    "cut off or not": {"filters": {"cut_off": "off"}},
    "other strategies": {"chosen": "quantile-0.5", "rejected": "min", "pairs_per_pool": 3},
    "all languages": {"scope": "multilingual", "prompt_language": "rejected"},
    "calibrated": {"scope": "multilingual", "normalise": "zscore"},
    "near duplicates": {"filters": {"near_duplicates": 0.9}},
}


def answered() -> list[tuple[Responses, list[float]]]:
    """Pools of eight answers, of which some tie, some have one answer, and some none that may be chosen."""
    draw = np.random.default_rng(0)
    made = []
    for k in range(40):
        for lang in LANGUAGES:
            n = 1 if k < 4 else 8
            rewards = [1.0] * n if k < 10 else draw.normal(size=n).round(2).tolist()
            texts = [f"{lang} answer {k} {j % 6}{' more' * (j % 3)}" for j in range(n)]
            finish = ["stop" if draw.random() < 0.5 else "length" for _ in range(n)]
            if 10 <= k < 14:
                texts, finish = [""] * n, ["length"] * n
            ids = [[k, j, 2] for j in range(n)]
            made.append((Responses(f"p{k:02}", lang, [k], texts, ids, finish, "m"), rewards))
    return made


def of_a_run(folder: Path, config: PairConfig) -> tuple[Artifact, Artifact]:
    """The stages "sample" and "pair" of these answers."""
    samples, scores, pairs = (
        Artifact(folder / name, kind, 1)
        for name, kind in (("sample", Responses), ("score", Rewards), ("pair", Pairs))
    )
    for artifact in (samples, scores, pairs):
        artifact.root.mkdir()
    rows = [encode(row) for row, _ in answered()]
    samples.seal_tables(0, [pa.Table.from_pylist(rows, schema(Responses))])
    scores.seal(0, [Rewards(*row.key, rewards) for row, rewards in answered()])
    context = Context({"score": scores, "sample": samples}, folder, Resources(), lambda *_: None)
    pairs.seal_tables(0, pair(Config(pair=config, seed=42, code={}), context)(0))
    return samples, pairs


def of_files(folder: Path, config: PairConfig) -> dict[tuple[str, str], str]:
    """What `croco pair --sft` writes of the same answers: texts by id and language."""
    with (folder / "scored.jsonl").open("w") as file:
        for row, rewards in answered():
            line = {"id": row.id, "lang": row.lang, "prompt": f"{row.lang} {row.id}"}
            line |= {"responses": row.texts, "finish_reasons": row.finish_reasons}
            file.write(json.dumps(line | {"rewards": rewards}) + "\n")
    pair_files([folder / "scored.jsonl"], folder / "out", config=config, options=Options(sft=True))
    lines = [line for path in (folder / "out").glob("sft*") for line in path.open()]
    rows = list(map(json.loads, lines))
    return {(one["id"], one["lang"]): one["completion"][0]["content"] for one in rows}


@pytest.mark.parametrize("name", CONFIGS)
def test_an_arm_trains_on_what_the_verb_writes(tmp_path: Path, name: str) -> None:
    config = PairConfig.model_validate(CONFIGS[name])
    samples, pairs = of_a_run(tmp_path, config)
    tops = [one.top for one in pairs.rows()]
    written = of_files(tmp_path, config)
    found = examples_of(pairs, samples, None, "sft")
    assert len(found) == len(written) == sum(top is not None for top in tops) > 0
    texts = {
        (row.id, row.lang, tuple(ids)): text
        for row, _ in answered()
        for ids, text in zip(row.token_ids, row.texts, strict=True)
    }
    for one in found:
        assert texts[one.id, one.lang, tuple(one.chosen_ids)] == written[one.id, one.lang]
        assert one.prompt_ids == [int(one.id[1:])]
        assert one.rejected_ids == []


def test_pools_without_a_pair_are_trained_on(tmp_path: Path) -> None:
    samples, pairs = of_a_run(tmp_path, PairConfig.model_validate({"filters": {"cut_off": "off"}}))
    rows = list(pairs.rows())
    without = [row for row in rows if not row.pairs]
    assert len(without) == 28  # of one answer, of equal rewards, of empty answers
    assert sum(len(trained_on(row, "sft")) for row in without) == 20
    assert len(examples_of(pairs, samples, None, "sft")) == 80 - 8
    assert len(examples_of(pairs, samples, None, "dpo")) == sum(len(row.pairs) for row in rows)
