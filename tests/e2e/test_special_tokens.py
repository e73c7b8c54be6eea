"""Answers with special tokens inside: sampled and scored, in no pair, not trained on, and counted."""

import json
import re

import pyarrow.parquet as pq

#: Every third answer of each prompt has a special token that its text leaves out; it is the best one.
ENGINE = """
from dataclasses import replace
from croco.engines.fake import FakeEngine

class Sloppy(FakeEngine):
    def generate(self, batches):
        for replies in super().generate(batches):
            yield [self._changed(reply) for reply in replies]

    def _changed(self, reply):
        ids = lambda own: [own.token_ids[0], 0, *own.token_ids[1:]]
        found = [
            replace(own, token_ids=ids(own), text="BEST " + own.text, special=1) if k % 3 == 0 else own
            for k, own in enumerate(reply.completions)
        ]
        return replace(reply, completions=found)

def prefers(*, prompt, response, lang):
    return 100.0 - len(response) + 1000 * response.startswith("BEST")
"""
TRAINER = """
import json

def train(job, place):
    place.out.mkdir(parents=True, exist_ok=True)
    rows = [side for one in job.examples for side in one.sides if side]
    (place.out / "seen.json").write_text(json.dumps(rows))
    (place.out / "adapter_config.json").write_text(json.dumps({"croco_fake": True, "strength": 0.1}))
    return []
"""


def rows(home, stage):
    found = sorted(home.glob(f"runs/fake/{stage}/shard-*.parquet"))
    return [row for path in found for row in pq.read_table(path).to_pylist()]


def test_they_stand_in_no_pair_and_are_counted(croco, recipes, tmp_path):
    (tmp_path / "sloppy.py").write_text(ENGINE)
    (tmp_path / "noting.py").write_text(TRAINER)
    changes = [
        "sample.engine=sloppy:Sloppy",
        "evaluate.engine=fake",
        "sample.n=6",
        "prompts.train_limit=8",
        "prompts.heldout_limit=2",
        "reward={kind: function, function: 'sloppy:prefers'}",
        "arms={dpo: {train: {trainer: 'noting:train'}},"
        " sft: {train: {method: sft, trainer: 'noting:train'}}}",
    ]
    sets = [word for change in changes for word in ("--set", change)]
    for name in ("dpo", "sft"):
        croco("run", recipes / "fake.yaml", *sets, "--until", f"{name}.train", check=0)
    sampled = rows(tmp_path, "sample")
    assert all(row["special"] == [1, 0, 0, 1, 0, 0] for row in sampled)
    pools = rows(tmp_path, "dpo.pair")
    assert len(pools) == len(sampled) == 32
    for pool in pools:
        assert pool["special"] == 2
        assert pool["pool_size"] == 6
        assert pool["pool_max"] > 900, "they count in the statistics"
        barred = [
            (one["index"], one["may_be_rejected"])
            for one in pool["barred"]
            if "special" in one["reason"]
        ]
        assert barred == [(0, False), (3, False)]
        sides = [pair[side] for pair in pool["pairs"] for side in ("chosen", "rejected")]
        assert {side["index"] for side in sides} <= {1, 2, 4, 5}
    for arm in ("dpo", "sft"):
        seen = json.loads((tmp_path / f"runs/fake/{arm}.train/files/seen.json").read_text())
        assert len(seen) > 20
        assert not any(0 in ids for ids in seen)
    told = json.loads(croco("doctor", "fake", "--json", check=0).stdout)
    for one in told:
        assert one["languages"]["overall"]["special"] == 64
        assert one["languages"]["overall"]["responses"] == 192
        assert [v for v in one["verdicts"] if "special tokens" in v["finding"]]
    croco("run", recipes / "fake.yaml", *sets, check=0)
    page = (tmp_path / "runs/fake/report/index.html").read_text()
    assert re.search(r"<p>64 of 192\s+responses have special tokens", page)
