"""Growing n samples only what is missing, and what was there stays as it is."""

import json

import pyarrow.parquet as pq


def sampled(home):
    rows = {}
    for path in sorted(home.glob("runs/fake/sample/shard-*.parquet")):
        rows |= {(row["id"], row["lang"]): row for row in pq.read_table(path).to_pylist()}
    return rows


def sample(croco, recipes, home, n, check=0):
    return croco(
        "run",
        recipes / "fake.yaml",
        "--set",
        f"sample.n={n}",
        "--until",
        "sample",
        home=home,
        check=check,
    )


def grown_from(home):
    found = [json.loads(path.read_text()) for path in home.glob("store/sample-*/stage.json")]
    return {one["recipe"]["config"]["sampling"]["n"]: one["grown_from"] for one in found}


def test_sixteen_answers_grow_to_sixty_four_as_if_they_had_been_asked_for(croco, recipes, tmp_path):
    sample(croco, recipes, tmp_path, 16)
    few = sampled(tmp_path)
    sample(croco, recipes, tmp_path, 64)
    many = sampled(tmp_path)
    assert grown_from(tmp_path)[64].startswith("sample-")
    assert few.keys() == many.keys()
    for key, row in few.items():
        for column in ("texts", "token_ids", "finish_reasons"):
            assert many[key][column][:16] == row[column]
            assert len(many[key][column]) == 64
    other = tmp_path / "at-once"
    other.mkdir()
    sample(croco, recipes, other, 64)
    assert sampled(other) == many


def test_only_what_is_missing_is_sampled(croco, recipes, tmp_path):
    """An engine that writes down what it is asked for."""
    (tmp_path / "counting.py").write_text(
        "from pathlib import Path\n"
        "from croco.engines.fake import FakeEngine\n"
        "class Counting(FakeEngine):\n"
        "    def generate(self, batches):\n"
        "        for batch in batches:\n"
        "            with Path('asked.txt').open('a') as file:\n"
        "                file.writelines(f'{len(r.seeds)}\\n' for r in batch)\n"
        "            yield from super().generate([batch])\n"
    )
    counts = []
    for n in (4, 10, 6):
        (tmp_path / "asked.txt").write_text("")
        croco(
            *("run", recipes / "fake.yaml", "--until", "sample", "--set", f"sample.n={n}"),
            *("--set", "sample.engine=counting:Counting"),
            check=0,
        )
        counts.append(set((tmp_path / "asked.txt").read_text().split()))
    assert counts == [{"4"}, {"6"}, set()]
    assert {len(row["texts"]) for row in sampled(tmp_path).values()} == {6}


def test_what_an_interrupted_run_had_is_grown_from_too(croco, recipes, tmp_path):
    """The smaller artifact has one sealed shard and one that is still a journal."""
    sample(croco, recipes, tmp_path, 4)
    few = sampled(tmp_path)
    (folder,) = tmp_path.glob("store/sample-*")
    rows = pq.read_table(folder / "shard-00001.parquet").to_pylist()
    (folder / "shard-00001.parquet").unlink()
    (folder / "journals").mkdir(exist_ok=True)
    line = json.dumps({"rows": rows[:3], "failures": []})
    (folder / "journals" / "00001.jsonl").write_text(line + "\n")
    sample(croco, recipes, tmp_path, 6)
    many = sampled(tmp_path)
    assert all(many[key]["texts"][:4] == row["texts"] for key, row in few.items())


def test_another_temperature_is_no_beginning(croco, recipes, tmp_path):
    sample(croco, recipes, tmp_path, 4)
    croco(
        *("run", recipes / "fake.yaml", "--until", "sample"),
        *("--set", "sample.n=8", "--set", "sample.temperature=0.5"),
        check=0,
    )
    assert grown_from(tmp_path) == {4: None, 8: None}
