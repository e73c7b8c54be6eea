"""`croco doctor`: figures that can be worked out by hand, and the verdict that each mistake deserves."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean, pstdev
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exits import refused

from croco import cli
from croco.pairing.files import Options, pair_files
from croco.recipe import PairConfig

FAKE = Path(__file__).parents[2] / "recipes" / "fake.yaml"


def write(path, rows):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
        path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture
def verb(tmp_path, monkeypatch, capsys):
    """`croco doctor` in this process and folder, which is quick: the exit code and what was said."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["croco", "doctor", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return SimpleNamespace(returncode=end.value.code, stdout=said.out, stderr=said.err)

    return call


@pytest.fixture
def diagnosed(verb):
    """What `croco doctor --json` says of one thing."""

    def call(*arguments):
        done = verb(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        (found,) = json.loads(done.stdout, parse_constant=pytest.fail)
        return found

    return call


@pytest.fixture
def made(tmp_path):
    """A folder of `croco pair`, made in this process."""

    def call(rows, name="pairs", pairing=None, **options):
        files = [write(tmp_path / f"{name}-rows.jsonl", rows)]
        options = Options(prompted=False, **options)
        pair_files(files, tmp_path / name, config=PairConfig(**(pairing or {})), options=options)
        return tmp_path / name

    return call


def pools(size, count=100, lang="en", seed=0, level=0.0, **more):
    """Pools of normal rewards; texts differ, and all are equally long."""
    draw = np.random.default_rng(seed)
    return [
        {"id": f"p{p}", "lang": lang, "response": f"{lang}:{p:04}-{k:04}"}
        | {"reward": float(draw.normal()) + level}
        | more
        for p in range(count)
        for k in range(size)
    ]


# -- A run ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The fake recipe, run until its pairs."""
    home = tmp_path_factory.mktemp("run")
    command = [sys.executable, "-m", "croco", "run", str(FAKE), "--home", str(home)]
    done = subprocess.run(
        [*command, "--until", "pair"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return home


def test_a_run_has_an_exam_for_each_of_its_pairings(croco, run):
    done = croco("doctor", "fake", "--json", home=run, check=0)
    mono, many = json.loads(done.stdout)
    assert mono["name"] == "fake: dpo-monolingual, sft-monolingual"
    assert many["name"] == "fake: dpo-multilingual"
    assert set(mono["languages"]) == {"en", "es", "fr", "de", "overall"}
    overall = mono["languages"]["overall"]
    assert (overall["pools"], overall["pairs"], overall["pool_size"]) == (192, 192, 16)
    assert many["languages"]["overall"]["pools"] == 48
    assert mono["identifier"] == "fake"
    assert overall["chosen_cut_off"] == 0.0
    assert overall["only_rejected_in_language"] == 0.0
    assert mono["languages"]["es"]["only_chosen_in_language"] > 0.8
    assert mono["on_policy"]["chosen"] == 1.0
    assert sum(n for row in many["matrix"].values() for n in row.values()) == 48


def test_a_runs_tables_and_verdicts(verb, run):
    done = verb("fake", "--home", run)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "fake: dpo-multilingual  multilingual, chosen max, rejected mean-2std" in done.stdout
    assert "chosen's language (down) and rejected's (across):" in done.stdout
    assert "BAD  overall: mean - 2 std lies below the minimum in" in done.stdout
    assert max(map(len, done.stdout.splitlines()[:8])) <= 120


def test_a_run_that_has_no_pairs_yet(verb, run, tmp_path):
    refused(verb("nobody", "--home", run), "there is no run 'nobody'")
    refused(verb("nobody"), "there is no run 'nobody'")
    command = [sys.executable, "-m", "croco", "run", str(FAKE), "--home", str(tmp_path)]
    subprocess.run([*command, "--until", "prompts-train"], capture_output=True, check=True)
    refused(verb("fake"), "run 'fake' has no pairs of 'dpo-monolingual' yet", "until pair")


# -- Figures --------------------------------------------------------------------------------------------


def gap_in_std(rewards):
    """The gap of the published pair, whatever filters say, in standard deviations of the pool."""
    mean, std, best = fmean(rewards), pstdev(rewards), max(rewards)
    lower = [reward for reward in rewards if reward < best]
    return (best - min(lower, key=lambda reward: abs(reward - mean + 2 * std))) / std


def test_figures_are_those_worked_out_by_hand(made, diagnosed):
    rows = pools(6, 20)
    draw = np.random.default_rng(1)
    for k, row in enumerate(rows):
        row["response"] += " more" * int(draw.integers(5))
        row["finish_reason"] = "length" if k % 10 == 0 else "stop"
        if k % 6 == 5 and k < 60:
            row["response"] = rows[k - 1]["response"]  # 10 of 120 repeat
    rows += pools(6, 10, "es", 2)
    folder = made(rows)
    found = diagnosed(folder)
    assert found["name"] == str(folder)
    own = [json.loads(line) for line in (folder / "pairs-en.jsonl").read_text().splitlines()]
    lengths = [[len(row[side][0]["content"]) for row in own] for side in ("chosen", "rejected")]
    english = found["languages"]["en"]
    assert english["pairs"] == english["pools"] == 20
    gaps = [row["chosen_reward"] - row["rejected_reward"] for row in own]
    assert english["margin"] == pytest.approx(fmean(gaps))
    assert english["median_margin"] == pytest.approx(float(np.median(gaps)))
    rewards = [[row["reward"] for row in rows[6 * p : 6 * p + 6]] for p in range(20)]
    assert [row["n"] for row in english["by_n"]] == [4, 6]
    assert english["by_n"][1]["gap"] == pytest.approx(fmean(map(gap_in_std, rewards)))
    assert english["length_gap"] == fmean(a - b for a, b in zip(*lengths, strict=True))
    longer = fmean(((a > b) - (a < b) + 1) / 2 for a, b in zip(*lengths, strict=True))
    assert english["longer_is_chosen"]["share"] == longer
    low, high = english["longer_is_chosen"]["ci"]
    assert low < longer < high
    assert english["cut_off"] == 12 / 120
    assert english["repeats"] == 10 / 120
    assert english["chosen_cut_off"] == 0.0
    cut = [row["rejected_finish_reason"] == "length" for row in own]
    assert english["rejected_cut_off"] == fmean(cut)
    spanish, both = found["languages"]["es"], found["languages"]["overall"]
    assert both["margin"] == pytest.approx((20 * english["margin"] + 10 * spanish["margin"]) / 30)
    assert both["cut_off"] == 12 / 180
    assert found["matrix"] == {"en": {"en": 20}, "es": {"es": 10}}


#: Of normal rewards, the share of pools whose mean - 2 std lies below the minimum, by n.
NORMAL = {8: 0.88, 16: 0.68, 32: 0.41, 64: 0.15}


def test_of_normal_rewards_the_target_is_below_the_minimum_as_often_as_it_must_be(made, diagnosed):
    for n in (8, 16, 64):
        figures = diagnosed(made(pools(n, 400, seed=n), f"n{n}"))["languages"]["overall"]
        assert figures["target_below_minimum"] == pytest.approx(NORMAL[n], abs=0.05)
    by_n = {row["n"]: row for row in figures["by_n"]}
    assert sorted(by_n) == [4, 8, 16, 32, 64]
    assert all(row["pools"] == 400 for row in by_n.values())
    for n, share in NORMAL.items():
        assert by_n[n]["target_below_minimum"] == pytest.approx(share, abs=0.05)
    assert by_n[4]["target_below_minimum"] == 1.0  # no deviation of 4 numbers is above sqrt(3)
    gaps = [by_n[n]["gap"] for n in sorted(by_n)]
    assert gaps == sorted(gaps)
    assert gaps[1] == pytest.approx(2.85, abs=0.1)  # the mean range of 8 normal numbers


def test_advice_on_n(made, diagnosed):
    few = diagnosed(made(pools(8, 50), "few"))["n_advice"]
    assert few.startswith("more than n = 8 would help: from n = 4 to 8")
    draw = np.random.default_rng(0)
    rows = pools(64, 50)
    for row in rows:
        row["reward"] = -float(draw.exponential())  # a long tail: the target is soon within reach
    many = diagnosed(made(rows, "many"))["n_advice"]
    assert many.startswith("n = ")
    assert "is enough" in many
    assert diagnosed(made(pools(3, 5), "single"))["n_advice"] is None


@pytest.mark.parametrize("n", range(3, 12))
def test_a_single_pool_of_right_and_wrong(made, diagnosed, n):
    rows = pools(n, 1)
    for k, row in enumerate(rows):
        row["reward"] = float(k == 0)
    found = diagnosed(made(rows))
    assert found["languages"]["overall"]["pairs"] == 1
    assert all(row["gap"] > 0 for row in found["languages"]["overall"]["by_n"])


@pytest.mark.parametrize(("reward", "n"), [(0.1, 3), (0.7, 7), (0.3, 10), (5.0, 4)])
def test_what_ties_is_not_below_its_own_minimum(made, diagnosed, reward, n):
    rows = pools(n, 3)
    for row in rows:
        row["reward"] = reward
    found = diagnosed(made([*rows, *pools(4, 1, "es")]))["languages"]["en"]
    assert found["target_below_minimum"] == 0.0
    assert (found["all_tied"], found["tied_best"], found["without_pair"]) == (1.0, 1.0, 3)
    assert found["by_n"] == []


# -- Pairs from elsewhere -------------------------------------------------------------------------------

ASKED = {"role": "user", "content": "How?"}
SIDES = (("much longer", "short"), ("no", "longer"), ("longer", "no"))


def said(text):
    return {"role": "assistant", "content": text}


SHAPES = {
    "strings": lambda a, b: {"prompt": "How?", "chosen": a, "rejected": b},
    "messages": lambda a, b: {"prompt": [ASKED], "chosen": [said(a)], "rejected": [said(b)]},
    "implicit": lambda a, b: {"chosen": [ASKED, said(a)], "rejected": [ASKED, said(b)]},
}


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("shape", SHAPES)
def test_pairs_from_elsewhere(tmp_path, diagnosed, shape, suffix):
    rows = [SHAPES[shape](*sides) for sides in SIDES]
    found = diagnosed(write(tmp_path / f"theirs.{suffix}", rows))
    figures = found["languages"]["overall"]
    assert figures["pairs"] == 3
    assert figures["longer_is_chosen"]["share"] == pytest.approx(2 / 3)
    assert figures["length_gap"] == pytest.approx((6 - 4 + 4) / 3)
    assert figures["margin"] is None
    assert figures["chosen_cut_off"] is None
    assert figures["in_language_is_chosen"] is None
    assert "pools" not in figures
    assert set(found["languages"]) == {"und", "overall"}


@pytest.mark.parametrize("name", ["{}_reward", "score_{}", "{}_score", "{}_rating"])
def test_rewards_of_pairs_from_elsewhere(tmp_path, diagnosed, name):
    rows = [
        {"chosen": "a", "rejected": "b", name.format("chosen"): 3.0, name.format("rejected"): low}
        for low in (1, "2.5", None)
    ]
    figures = diagnosed(write(tmp_path / "theirs.jsonl", rows))["languages"]["overall"]
    assert figures["margin"] == pytest.approx((2 + 0.5) / 2)


def test_of_pairs_alone_no_strategy_is_told(tmp_path, verb, made):
    rows = [SHAPES["strings"](*sides) for sides in SIDES]
    done = verb(write(tmp_path / "theirs[v2].jsonl", rows))
    assert done.stdout.splitlines()[0].endswith("theirs[v2].jsonl")
    said = verb(made(pools(4, 2))).stdout.split()  # a long path breaks the line
    assert "rejected mean-2std" in " ".join(said)


def test_rows_that_are_no_pairs_are_counted(tmp_path, verb):
    rows = [
        SHAPES["strings"](*SIDES[0]),
        {"chosen": "x"},
        "torn",
        "[1]",
        {"chosen": 1, "rejected": []},
    ]
    rows.append(SHAPES["strings"](*SIDES[0]) | {"lang": 5})
    rows.append(SHAPES["messages"](*SIDES[0]) | {"chosen": []})
    done = verb(write(tmp_path / "theirs.jsonl", rows), "--json")
    assert "6 rows have no chosen and rejected and are left out" in done.stderr
    assert json.loads(done.stdout)[0]["languages"]["overall"]["pairs"] == 1


def test_prompts_without_ids_are_each_their_own(tmp_path, diagnosed):
    rows = [{"id": None} | SHAPES["strings"](*sides) for sides in SIDES * 20]
    rule = diagnosed(write(tmp_path / "theirs.jsonl", rows))["languages"]["overall"]
    low, high = rule["longer_is_chosen"]["ci"]
    assert 0.5 < low < 2 / 3 < high < 0.8


def test_a_language_may_be_named_for_all_pairs(tmp_path, diagnosed):
    pytest.importorskip("py3langid")
    english = "There is a cat on the table in the kitchen, and it is sleeping in the sun."
    spanish = "Hay un gato encima de la mesa de la cocina, y está durmiendo al sol de la tarde."
    rows = [SHAPES["strings"](spanish, english) for _ in range(30)]
    found = diagnosed(write(tmp_path / "theirs.jsonl", rows), "--lang", "en")
    assert found["languages"]["en"]["only_rejected_in_language"] == 1.0
    assert (
        "bad",
        "overall",
        "in 100% of the pairs rejected alone is in the prompt's language",
    ) in [(v["level"], v["lang"], v["finding"]) for v in found["verdicts"]]


# -- Scored responses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_scored_responses_without_language_or_prompts(tmp_path, diagnosed, suffix):
    rows = pools(8, 10)
    listed = [
        {"id": f"p{p}"}
        | {
            f"{name}s": [row[name] for row in rows[8 * p : 8 * p + 8]]
            for name in ("response", "reward")
        }
        for p in range(10)
    ]
    for row in rows:
        del row["lang"]
    found = [
        diagnosed(write(tmp_path / f"{name}.{suffix}", own), "--lang", "en")
        for name, own in (("single", rows), ("lists", listed))
    ]
    for one in found:
        assert one["languages"]["en"]["pools"] == one["languages"]["en"]["pairs"] == 10
        assert one["name"].endswith(f".{suffix}")
    assert found[0]["languages"] == found[1]["languages"]


def test_rows_that_cannot_be_paired_are_counted(tmp_path, verb):
    rows = [*pools(4, 2), "torn", pools(1, 1)[0] | {"reward": None}]
    done = verb(write(tmp_path / "scored.jsonl", rows), "--json")
    assert "1 rows are left out: unreadable" in done.stderr
    assert "1 rows are left out: no reward" in done.stderr
    assert json.loads(done.stdout)[0]["languages"]["overall"]["pools"] == 2


def test_nothing_is_written(tmp_path, verb, made):
    scored = write(tmp_path / "scored.jsonl", pools(4, 2))
    folder = made(pools(4, 2))
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    for target in (scored, folder):
        assert verb(target).returncode == 0
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}


def test_several_things_at_once(tmp_path, verb, made):
    folders = [made(pools(4, 2), "one"), made(pools(4, 3), "two")]
    both = json.loads(verb(*folders, "--json").stdout)
    assert [one["languages"]["overall"]["pools"] for one in both] == [2, 3]
    files = [write(tmp_path / f"{k}.jsonl", pools(4, 1, seed=k)) for k in (1, 2)]
    (found,) = json.loads(verb(*files, "--json").stdout)
    assert found["languages"]["overall"]["pool_size"] == 8


# -- Verdicts -------------------------------------------------------------------------------------------


def findings(diagnosis, lang="overall"):
    """Level and finding of each verdict on a language."""
    return [(v["level"], v["finding"]) for v in diagnosis["verdicts"] if v["lang"] == lang]


def told(diagnosis, level, part, lang="overall"):
    return any(a == level and part in b for a, b in findings(diagnosis, lang))


@pytest.mark.parametrize(
    ("share", "longer", "shorter"),
    [(0.9, "bad", None), (0.72, "look", None), (0.5, None, None), (0.2, None, "bad")],
)
def test_pairs_that_teach_length(tmp_path, diagnosed, share, longer, shorter):
    rows = [
        SHAPES["strings"](*("long " * 9, "x")[:: 1 if k < 200 * share else -1]) for k in range(200)
    ]
    found = diagnosed(write(tmp_path / "theirs.jsonl", rows))
    for level in ("look", "bad"):
        assert told(found, level, "the pairs teach length") == (level == longer)
        assert told(found, level, "the pairs teach brevity") == (level == shorter)


def test_pairs_of_which_nothing_is_to_be_said(made, diagnosed):
    found = diagnosed(made(pools(128, 40)))
    assert findings(found) == [("good", "nothing stands out")]


@pytest.mark.parametrize(
    ("size", "level"), [(32, "look"), (8, "bad"), (128, None)], ids=lambda v: str(v)
)
def test_a_target_out_of_reach(made, diagnosed, size, level):
    found = diagnosed(made(pools(size, 60)))
    for one in ("look", "bad"):
        assert told(found, one, "there mean-2std is no more than min") == (one == level)


@pytest.mark.parametrize(("size", "level"), [(6, "bad"), (8, "look"), (16, None)])
def test_small_pools(made, diagnosed, size, level):
    found = diagnosed(made(pools(size, 40)))
    small = f"the pools are small: half of them hold no more than {size} responses"
    assert [one for one in findings(found) if "small" in one[1]] == (
        [(level, small)] if level else []
    )


def spoiled(share, **changes):
    """Pools of 32 in which a share of all responses is changed, worst rewards first."""
    rows = sorted(pools(32, 40), key=lambda row: row["reward"])
    return [row | (changes if k < share * len(rows) else {}) for k, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("rows", "level", "finding"),
    [
        (spoiled(0.6, finish_reason="length"), "bad", "60% of the responses were cut off"),
        (spoiled(0.3, finish_reason="length"), "look", "30% of the responses were cut off"),
        (spoiled(0.2, response=" "), "bad", "20% of the responses are empty"),
        (spoiled(0.05, response=""), "look", "5% of the responses are empty"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_responses_that_are_not_whole(made, diagnosed, rows, level, finding):
    assert told(diagnosed(made(rows)), level, finding)


def test_chosen_that_were_cut_off(made, diagnosed):
    rows = pools(32, 40, finish_reason="length")
    whole = pools(32, 40, finish_reason="stop")
    mixed = [(rows if k % 3 else whole)[k] for k in range(len(rows))]
    kept = diagnosed(made(mixed, "kept"))
    assert kept["languages"]["en"]["chosen_cut_off"] == 0.0
    assert kept["languages"]["en"]["rejected_cut_off"] == 0.5
    assert not any("chosen responses" in finding for _, finding in findings(kept))
    off = diagnosed(made(rows, "off", {"filters": {"cut_off": "off"}}))
    assert told(off, "bad", "100% of the chosen responses were cut off")


@pytest.mark.parametrize(("same", "level"), [(17, "bad"), (7, "look"), (3, None)])
def test_responses_that_repeat(made, diagnosed, same, level):
    rows = [
        row | ({"response": f"the same of {row['id']}"} if k % 32 < same else {})
        for k, row in enumerate(pools(32, 40))
    ]
    found = diagnosed(made(rows))
    for one in ("look", "bad"):
        assert told(found, one, f"{(same - 1) / 32:.0%} of the responses repeat") == (one == level)


def test_rewards_that_saturate(made, diagnosed):
    rows = pools(32, 40)
    for row in rows[: 32 * 20]:
        row["reward"] = min(row["reward"], 0.5)
    found = diagnosed(made(rows))
    assert told(found, "bad", "several texts share the highest reward in 50% of the pools")
    for row in rows[: 32 * 20]:
        if row["reward"] == 0.5:
            row["response"] = f"the same for {row['id']}"
    again = diagnosed(made(rows, "again"))
    assert again["languages"]["en"]["tied_best"] == 0.0


def test_pools_without_pairs(made, diagnosed):
    rows = pools(32, 40)
    for row in rows[: 32 * 12]:
        row["reward"] = 1.0
    assert told(diagnosed(made(rows)), "bad", "30% of the pools give no pair")


def test_a_prompt_in_another_language_than_chosens(made, diagnosed):
    rows = [row for lang in ("en", "es", "sw") for row in pools(16, 30, lang, seed=len(lang))]
    pairing = {"scope": "multilingual", "filters": {"identifier": "fake"}}
    rows = [row | {"reward": row["reward"] + k % 7 / 10} for k, row in enumerate(rows)]
    asked = diagnosed(made(rows, "asked", pairing))
    assert asked["languages"]["overall"]["prompt_not_in_chosens_language"] == 0.0
    other = diagnosed(made(rows, "other", pairing | {"prompt_language": "rejected"}))
    assert told(other, "bad", "in another language than chosen's: they teach to switch")
    assert other["identifier"] == "fake"
    assert told(other, "bad", "rejected alone is in the prompt's language")


def test_a_language_that_supplies_all_chosen(made, diagnosed, verb):
    levels = {"en": 0.0, "es": 0.0, "sw": 100.0}
    rows = []
    for k, (lang, level) in enumerate(levels.items()):
        rows += pools(16, 30, lang, seed=k, level=level)
    raw = made(rows, "raw", {"scope": "multilingual"})
    found = diagnosed(raw)
    assert findings(found, "sw")[0] == (
        "bad",
        "sw supplies 100% of chosen, where an equal share is 33%",
    )
    assert any("--normalise zscore" in v["remedy"] for v in found["verdicts"])
    even = made(rows, "even", {"scope": "multilingual", "normalise": "zscore"})
    found = diagnosed(even)
    assert not told(found, "bad", "supplies", "sw")
    assert sum(found["matrix_of_raw_rewards"]["sw"].values()) == 30
    assert "rejected's (across) by raw rewards" in verb(even).stdout


def test_a_language_is_named_where_it_is_worse_than_all(made, diagnosed):
    rows = pools(128, 160) + pools(128, 30, "es", finish_reason="length")
    found = diagnosed(made(rows))
    assert told(found, "bad", "100% of the responses were cut off", "es")
    assert not any("cut off" in finding for _, finding in findings(found))
    assert [v["level"] for v in found["verdicts"]] == sorted(v["level"] for v in found["verdicts"])


def test_shares_of_what_the_policy_wrote(made, diagnosed):
    rows = [row | {"policy": "ab"[k % 2]} for k, row in enumerate(pools(8, 20))]
    shares = diagnosed(made(rows, policy="a"))["on_policy"]
    assert shares["policy"] == "a"
    assert shares["responses"] == 0.5
    assert diagnosed(made(rows, "none"))["on_policy"] is None


# -- What cannot be looked at ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.jsonl", "", "no response can be used"),
        ("other.jsonl", '{"text": "x"}\n', "1 x no id"),
        ("prompts.jsonl", '{"id": "p", "lang": "en", "prompt": "x"}\n', "no response"),
        ("notes.txt", "notes\n", "give a file that ends in .jsonl or .parquet"),
        ("torn.parquet", "PAR1", "torn.parquet cannot be read"),
    ],
)
def test_files_that_hold_neither(verb, tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    refused(verb(name), said)


def test_a_folder_that_holds_no_pairs(verb, tmp_path, made):
    (tmp_path / "nothing").mkdir()
    refused(verb("nothing"), "there is no run 'nothing'")
    folder = made(pools(4, 2))
    for content in (None, "{", "{}", '{"settings": {"rejected": "worst"}}'):
        (folder / "summary.json").unlink(missing_ok=True)
        if content is not None:
            (folder / "summary.json").write_text(content)
        refused(verb(folder), "is not a folder that croco pair wrote")


def test_a_folder_with_pools_but_no_pairs(made, diagnosed, verb):
    rows = [row | {"reward": 1.0} for row in pools(4, 2)]
    folder = made(rows)
    found = diagnosed(folder)
    assert found["languages"]["overall"]["pairs"] == 0
    assert told(found, "bad", "100% of the pools give no pair")
    assert verb(folder).returncode == 0


def test_a_tag_that_is_none(verb, tmp_path):
    path = write(tmp_path / "scored.jsonl", [{"id": "p", "response": "x", "reward": 1}])
    refused(verb(path, "--lang", "klingon!"), "--lang")
