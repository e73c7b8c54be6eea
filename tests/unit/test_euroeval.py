"""EuroEval's results as its versions write them, tables against arithmetic done another way, and bad input.

`euroeval_results.jsonl` holds real lines, cut to the keys that matter: Viking-7B at two points of its
training by EuroEval 16.5 (github.com/KennethEnevoldsen/euroeval-for-pretraining) and a DistilBERT by
18.2 (encoder_results.jsonl of github.com/EuroEval/EuroEval).
"""

from __future__ import annotations

import json
import math
import re
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats

from croco.benchmark_settings import EUROEVAL, PACKAGES, Benchmark, version_of
from croco.errors import DataError, EngineError
from croco.euroeval import (
    PAPER,
    command,
    keep_whole_lines,
    prepared,
    read_results,
    sets_for,
    stand_in,
    surroundings,
    tabulate,
)
from croco.euroeval.tables import _radius
from croco.records import Benchmarked
from croco.settings import Environment

LINES = Path(__file__).parents[1] / "data" / "euroeval_results.jsonl"
EARLY, LATE = "LumiOpen/Viking-7B@100B", "LumiOpen/Viking-7B@300B"


def rows(model):
    """The real results of a model as a stage's rows."""
    return [
        Benchmarked(
            "da", r.dataset, r.task, r.metric, r.scores, r.score, r.radius, r.failed, r.version, ""
        )
        for r in read_results(LINES)[0]
        if r.model == model
    ]


def row(dataset, scores, lang="da", reason="", metric="mcc", lower=False):
    score = statistics.fmean(scores) if scores else math.nan
    return Benchmarked(
        lang, dataset, "knowledge", metric, scores, score, math.nan, 0, "", reason, lower
    )


def test_real_lines_of_both_forms():
    results, dropped = read_results(LINES)
    assert dropped == []
    found = {(r.dataset, r.model): r for r in results}
    assert len(found) == 8
    wiki = found["multi-wiki-qa-da", LATE]
    assert (wiki.metric, wiki.task, wiki.version) == ("f1", "reading-comprehension", "16.5.0")
    assert wiki.scores[0] == 27.994395554962697  # already in points of 100
    assert found["angry-tweets", EARLY].scores[0] == pytest.approx(20.784813038143826)
    schema = found["be-wsc", "distilbert/distilbert-base-multilingual-cased"]
    assert (schema.languages, schema.version, schema.metric) == (["be"], "18.2.0", "mcc")
    assert schema.scores[1] == pytest.approx(12.52448582170299)
    assert schema.radius == pytest.approx(9.482026458)


def test_euroevals_own_interval_is_what_the_docs_say():
    for result in read_results(LINES)[0]:
        spread = statistics.stdev(result.scores)
        assert result.score == pytest.approx(statistics.fmean(result.scores))
        assert result.radius == pytest.approx(1.96 * spread / math.sqrt(10), rel=1e-6)


def test_tables_agree_with_arithmetic_done_another_way():
    found = tabulate({"base": rows(EARLY), "dpo": rows(LATE)}, seed=1)
    danish = found["languages"]["da"]
    raw = [json.loads(line) for line in LINES.read_text().splitlines()]
    totals = {(r["dataset"], r["model"]): r["results"]["total"] for r in raw if "results" in r}
    early, late = (
        {d: next(iter(t.values())) for (d, m), t in totals.items() if m == model}
        for model in (EARLY, LATE)
    )
    assert danish["mean"]["base"] == pytest.approx(sum(early.values()) / 3)
    assert danish["mean"]["dpo"] == pytest.approx(sum(late.values()) / 3)
    assert danish["mean_rank"]["dpo"]["rank"] == pytest.approx((2 + 1 + 1) / 3)
    paired = {
        r["dataset"]: [
            100 * (b["mcc"] - a["mcc"]) if "mcc" in a else b["f1"] - a["f1"]
            for a, b in zip(r["results"]["raw"], other["results"]["raw"], strict=True)
        ]
        for r in raw
        for other in raw
        if r.get("model") == EARLY and other.get("model") == LATE
        if r["dataset"] == other["dataset"]
    }
    tweets = paired["angry-tweets"]
    low, high = scipy_stats.t.interval(
        0.95, 9, statistics.fmean(tweets), statistics.stdev(tweets) * math.sqrt(1.1)
    )
    assert danish["datasets"]["angry-tweets"]["delta"]["dpo"]["ci"] == pytest.approx([low, high])
    variances = [statistics.variance(values) * 1.1 / 9 for values in paired.values()]
    freedom = sum(variances) ** 2 / sum(v * v / 9 for v in variances)
    delta = statistics.fmean([statistics.fmean(values) for values in paired.values()])
    interval = scipy_stats.t.interval(0.95, freedom, delta, math.sqrt(sum(variances)))
    assert danish["delta"]["dpo"]["ci"] == pytest.approx(list(interval))
    average = found["languages"]["average"]["delta"]["dpo"]
    assert average["ci"] == pytest.approx(danish["delta"]["dpo"]["ci"])


def test_ranks_share_ties_and_languages_weigh_the_same():
    models = {
        "base": [row("a", [1.0, 2.0]), row("b", [5.0, 5.0]), row("c", [3.0, 3.0], "nl")],
        "one": [row("a", [4.0, 5.0]), row("b", [5.0, 5.0]), row("c", [1.0, 1.0], "nl")],
        "two": [row("a", [0.0, 1.0]), row("b", [9.0, 9.0]), row("c", [2.0, 2.0], "nl")],
    }
    found = tabulate(models, seed=1)["languages"]
    assert found["da"]["datasets"]["b"]["ranks"] == {"base": 2.5, "one": 2.5, "two": 1.0}
    ranks = {model: one["rank"] for model, one in found["da"]["mean_rank"].items()}
    assert ranks == {"base": 2.25, "one": 1.75, "two": 2.0}
    assert found["average"]["mean"]["base"] == pytest.approx(((1.5 + 5) / 2 + 3) / 2)
    assert found["average"]["mean_rank"]["base"]["rank"] == pytest.approx((2.25 + 1) / 2)


def test_where_lower_is_better_a_difference_is_still_an_improvement():
    models = {
        "base": [row("a", [30.0, 34.0], metric="ece", lower=True), row("b", [50.0, 52.0])],
        "dpo": [row("a", [20.0, 22.0], metric="ece", lower=True), row("b", [54.0, 56.0])],
    }
    danish = tabulate(models, seed=1)["languages"]["da"]
    error = danish["datasets"]["a"]
    assert (error["metric"], error["lower_is_better"]) == ("ece", True)
    assert error["models"]["dpo"]["score"] == 21.0
    assert error["delta"]["dpo"]["delta"] == 11.0
    assert error["delta"]["dpo"]["ci"][0] < 11.0 < error["delta"]["dpo"]["ci"][1]
    assert error["ranks"] == {"base": 2.0, "dpo": 1.0}
    assert danish["mean"] == {"base": (68 + 51) / 2, "dpo": (79 + 55) / 2}
    assert danish["delta"]["dpo"]["delta"] == 7.5
    assert danish["mean_rank"]["dpo"] == {"rank": 1.0, "ci": [1.0, 1.0]}


def test_scores_of_two_metrics_are_not_subtracted():
    models = {
        "base": [row("a", [30.0, 34.0]), row("b", [50.0, 52.0])],
        "one": [row("a", [20.0, 22.0], metric="accuracy"), row("b", [54.0, 56.0])],
        "two": [row("a", [20.0, 22.0]), row("b", [54.0, 56.0], lower=True)],
    }
    found = tabulate(models, seed=1)
    assert found["languages"] == {}
    assert [(one["dataset"], one["model"]) for one in found["missing"]] == [
        ("a", "one"),
        ("b", "two"),
    ]
    assert "accuracy" in found["missing"][0]["reason"]
    assert "mcc" in found["missing"][0]["reason"]


def test_a_mean_ranks_interval_is_that_of_single_iterations():
    models = {"base": [row("a", [1.0, 1.0, 1.0, 1.0])], "dpo": [row("a", [2.0, 2.0, 2.0, 0.0])]}
    ranks = tabulate(models, seed=1)["languages"]["da"]["mean_rank"]
    assert ranks["dpo"] == {"rank": 1.0, "ci": [1.0, 2.0]}
    models["dpo"] = [row("a", [2.0, 2.0, 2.0, 2.0])]
    assert tabulate(models, seed=1)["languages"]["da"]["mean_rank"]["dpo"]["ci"] == [1.0, 1.0]


@pytest.mark.parametrize("iterations", [3, 10])
def test_intervals_of_differences_hold_what_they_promise(iterations):
    """Test items drawn from a population, then by EuroEval with replacement: 95 % hold the true difference.

    EuroEval's rule, 1.96 s / sqrt(K), applied to the same differences holds it far less often.
    """
    draw = np.random.default_rng(7)
    items, worlds, held, narrow = 400, 1_500, 0, 0
    for _ in range(worlds):
        hard = draw.random(items)
        base, tuned = (draw.random(items) < 0.3 + 0.4 * hard, draw.random(items) < 0.4 + 0.4 * hard)
        differences = 100.0 * (tuned.astype(float) - base)
        drawn = differences[draw.integers(0, items, (iterations, items))].mean(axis=1)
        held += abs(drawn.mean() - 10) <= _radius([(drawn.tolist(), 1.0)])
        narrow += abs(drawn.mean() - 10) <= 1.96 * drawn.std(ddof=1) / math.sqrt(iterations)
    assert 0.93 < held / worlds < 0.975
    assert narrow / worlds < 0.8


def test_a_data_set_that_one_model_lacks_is_left_out_for_all_and_named():
    models = {
        "base": [row("a", [1.0, 2.0]), row("b", [5.0, 6.0])],
        "dpo": [row("a", [2.0, 4.0]), row("b", [], reason="EuroEval gave no result")],
        "sft": [row("a", [3.0, 3.0])],
    }
    found = tabulate(models, seed=1)
    assert list(found["languages"]["da"]["datasets"]) == ["a"]
    assert found["languages"]["da"]["mean"]["base"] == 1.5
    assert [(one["model"], one["reason"]) for one in found["missing"]] == [
        ("dpo", "EuroEval gave no result"),
        ("sft", "it was not benchmarked"),
    ]


def test_nothing_to_compare_and_a_single_iteration_give_no_interval_and_no_nan():
    nothing = tabulate({"base": [], "dpo": []}, seed=1)
    assert nothing["languages"] == {}
    once = tabulate({"base": [row("a", [1.0])], "dpo": [row("a", [2.0])]}, seed=1)
    assert once["languages"]["da"]["delta"]["dpo"] == {"delta": 1.0, "ci": [None, None], "sets": 1}
    json.dumps([nothing, once], allow_nan=False)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"dataset": "wic", "resu', "not whole JSON"),
        ("[1, 2]", "no result of EuroEval"),
        ('{"dataset": "wic"}', "no result of EuroEval: KeyError 'results'"),
        ('{"schema_version": "0.2.1"}', "no result of EuroEval: KeyError"),
    ],
)
def test_a_bad_line_costs_itself_alone(tmp_path, line, reason):
    good = LINES.read_text().splitlines()
    path = tmp_path / "results.jsonl"
    path.write_text("\n".join([good[0], line, good[1]]))
    results, dropped = read_results(path)
    assert [r.dataset for r in results] == ["angry-tweets", "scala-da"]
    assert dropped[0].line == 2
    assert reason in dropped[0].reason
    keep_whole_lines(path)
    assert len(path.read_text().splitlines()) == (2 if "not whole" in reason else 3)


@pytest.mark.parametrize(
    ("total", "reason"),
    [
        ({"test_mcc": math.nan}, "no number"),
        ({"test_mcc": 55.0}, "not the mean of its 10 iterations"),
        ({}, "there is no metric"),
    ],
)
def test_scores_that_cannot_be_true_are_refused(tmp_path, total, reason):
    values = json.loads(LINES.read_text().splitlines()[0])
    values["results"]["total"] = total
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(values))
    results, dropped = read_results(path)
    assert results == []
    assert "angry-tweets" in dropped[0].reason
    assert reason in dropped[0].reason


@pytest.mark.parametrize(("said", "read"), [(True, True), (False, False), ("yes", None)])
def test_whether_lower_is_better_is_read(tmp_path, said, read):
    lines = [line for line in LINES.read_text().splitlines() if "schema_version" in line]
    values = json.loads(lines[0])
    values["evaluation_results"][0]["metric_config"] = {"lower_is_better": said}
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(values))
    results, dropped = read_results(path)
    assert [one.lower_is_better for one in results] == ([] if read is None else [read])
    assert len(dropped) == (read is None)


def test_a_data_set_done_again_counts_once(tmp_path):
    line = LINES.read_text().splitlines()[0]
    path = tmp_path / "results.jsonl"
    path.write_text(f"{line}\n\n{line}\n")
    results, dropped = read_results(path)
    assert len(results) == 1
    assert [(one.line, one.reason) for one in dropped] == [
        (1, "angry-tweets: done again in line 3")
    ]


def test_what_unicode_takes_for_an_end_of_line_is_none(tmp_path):
    values = json.loads(LINES.read_text().splitlines()[0])
    values["results"]["raw"][0]["failed_instances"] = [{"error": "one\u2028two\x85three"}]
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    keep_whole_lines(path)
    results, dropped = read_results(path)
    assert (len(results), dropped) == (1, [])


def test_an_empty_file_has_no_results_and_a_missing_one_is_an_error(tmp_path):
    (tmp_path / "empty").touch()
    assert read_results(tmp_path / "empty") == ([], [])
    with pytest.raises(DataError, match="missing"):
        read_results(tmp_path / "missing")


def test_the_papers_list_has_its_two_slips_mended():
    assert "tydiqa-fi" in PAPER["fi"]
    assert "multi-wiki-qa-pt" in PAPER["pt"]
    names = [name for own in PAPER.values() for name in own]
    assert len(names) == len(set(names)) == 61
    assert sets_for(["da", "nb", "pt-BR", "gl"]) == (
        {"da": PAPER["da"], "nb": PAPER["no"], "pt-BR": PAPER["pt"]},
        ["gl"],
    )


def test_the_docs_list_is_the_codes():
    text = (Path(__file__).parents[2] / "docs" / "euroeval.md").read_text()
    table = {
        lang: names.split(", ")
        for lang, names in re.findall(r"^\| ([a-z]{2}) \| (.*) \|$", text, re.MULTILINE)
    }
    assert table == PAPER
    assert f"**{EUROEVAL}**" in text


def test_the_version_is_pinned_once():
    assert version_of(Benchmark().packages) == EUROEVAL
    assert version_of(PACKAGES) == EUROEVAL
    with pytest.raises(ValueError, match="euroeval==VERSION"):
        Benchmark(packages=["euroeval>=17"])


def test_the_command_says_what_and_the_surroundings_where():
    line = command(
        Path("/env/bin/python"),
        Path("/model"),
        ["wic", "squad"],
        3,
        "test",
        Path("/cache"),
        "cuda:2",
        0.9,
        ["--trust-remote-code"],
    )
    assert line[:2] == ["/env/bin/python", "-P"]
    assert line[3:] == [
        *("--model", "/model", "--dataset", "wic", "--dataset", "squad"),
        *("--num-iterations", "3", "--evaluate-test-split", "--no-progress-bar"),
        *("--cache-dir", "/cache", "--gpu-memory-utilization", "0.9", "--trust-remote-code"),
    ]
    assert surroundings("cuda:2")["CUDA_VISIBLE_DEVICES"] == "2"
    on_cpu = command(Path("p"), Path("m"), ["wic"], 1, "validation", Path("c"), "cpu")
    assert on_cpu[-2:] == ["--device", "cpu"]
    assert "--evaluate-val-split" in on_cpu


def test_an_adapter_is_given_as_it_is_on_the_base_it_was_tuned_on(tmp_path):
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir()
    adapter.mkdir()
    (base / "config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    (adapter / "adapter_config.json").write_text(
        '{"r": 16, "base_model_name_or_path": "org/model"}'
    )
    for _ in range(2):  # a run that goes on finds the folder
        made = stand_in(base, adapter, tmp_path / "out")
    assert (made / "adapter_model.safetensors").resolve() == adapter / "adapter_model.safetensors"
    config = json.loads((made / "adapter_config.json").read_text())
    assert config == {"r": 16, "base_model_name_or_path": str(base)}
    assert "org/model" in (adapter / "adapter_config.json").read_text()
    assert not (made / "config.json").exists()
    assert (stand_in(base, None, tmp_path / "plain") / "config.json").is_symlink()


def test_an_environment_that_cannot_be_made_says_why(tmp_path, monkeypatch):
    if sys.version_info[:2] not in ((3, 12), (3, 13)):
        with pytest.raises(EngineError, match=r"is no Python 3\.12"):
            prepared(PACKAGES, Environment(folder=str(tmp_path / "env"), python=sys.executable))
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").touch()
    with pytest.raises(EngineError, match=r"no Python 3\.12|no Python environment"):
        prepared(PACKAGES, Environment(folder=str(full)))
    assert (full / "mine.txt").exists()


def test_an_environment_with_other_versions_than_the_recipe_pins_is_told(tmp_path, caplog):
    """Of EuroEval it is refused, of other packages warned of: vLLM and transformers decide figures too."""
    python = tmp_path / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path}/site" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    for name, version in (("euroeval", EUROEVAL), ("vllm", "0.19.0+cu128")):
        folder = tmp_path / "site" / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    where = Environment(folder=str(tmp_path / "env"))
    pinned = f"euroeval[generative]=={EUROEVAL}"
    assert prepared([pinned, "vllm==0.19.0", "numpy>=1"], where) == python
    assert not caplog.records
    assert prepared([pinned, "vllm==0.18.0", "nowhere-at-all==1.0"], where) == python
    assert "vllm 0.19.0+cu128, not 0.18.0" in caplog.text
    assert "nowhere-at-all none" in caplog.text
    with pytest.raises(EngineError, match="the recipe pins"):
        prepared(["euroeval==1.0.0"], where)
