"""A run of the fake recipe that evaluates two languages which it does not train."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from exits import refused

from croco import pipeline, recipe_file

FAKE = Path(__file__).parents[2] / "recipes" / "fake.yaml"
UNTRAINED = "evaluate.languages=[it, ga]"
AVERAGE = "average (not trained)"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report's folder, of a run with two arms less."""
    home = tmp_path_factory.mktemp("forgetting")
    folder = home / "project"
    folder.mkdir()
    text = FAKE.read_text()
    cut = text.index("  dpo-multilingual"), text.index("evaluate:")
    (folder / "recipe.yaml").write_text(text[: cut[0]] + "\n" + text[cut[1] :])
    command = [sys.executable, "-m", "croco", "run", str(folder / "recipe.yaml")]
    command += ["--set", UNTRAINED, "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return home / "runs" / "fake" / "report"


def test_untrained_languages_are_apart_in_the_summary(report):
    summary = json.loads((report / "summary.json").read_text())
    assert summary["untrained"] == ["ga", "it"]
    (figures,) = summary["arms"].values()
    assert list(figures) == ["de", "en", "es", "fr", "average", "ga", "it", AVERAGE]

    def mean(metric, langs):
        return sum(figures[lang][metric]["tuned"] for lang in langs) / len(langs)

    for metric in ("win_rate", "language_fidelity", "mean_length"):
        average = figures["average"][metric]["tuned"]
        assert average == pytest.approx(mean(metric, ["de", "en", "es", "fr"]))
        assert figures[AVERAGE][metric]["tuned"] == pytest.approx(mean(metric, ["ga", "it"]))


def test_the_losses_are_in_the_summary(report):
    lost = json.loads((report / "summary.json").read_text())["forgetting"]
    assert lost["without_sentences"] == ["ga"]
    (figures,) = lost["arms"].values()
    trained = {lang: own["trained"] for lang, own in figures.items()}
    assert trained == dict.fromkeys(("de", "en", "es", "fr", "average"), True) | {
        "it": False,
        AVERAGE: False,
    }
    for own in figures.values():
        for measure in ("loss_per_token", "bits_per_byte"):
            figure = own[measure]
            assert figure["delta"] == pytest.approx(figure["tuned"] - figure["base"])
            assert figure["ci"][0] <= figure["delta"] <= figure["ci"][1]
            assert figure["delta"] != 0


def test_the_page_marks_what_was_not_trained(report):
    page = (report / "index.html").read_text()
    assert 'href="#forgetting"' in page
    assert "ga (not trained)" in page
    assert AVERAGE in page
    assert "averaged over languages that were not trained" in page
    assert "There are no sentences in ga." in page
    assert "base.loss" in page
    assert "▲" in page[page.index('id="forgetting"') :]


def test_only_what_is_evaluated_changes_with_more_languages():
    one, other = (
        pipeline.build(recipe_file.load(FAKE, overrides)) for overrides in ([], [UNTRAINED])
    )
    changed = {name for name in one if one[name].identity != other[name].identity}
    kinds = (".sample", ".language", ".judge")
    answered = {name for name in one if name.endswith(kinds)}
    assert changed == answered | {"prompts-heldout", "contamination", "report"}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("evaluate.languages=[it, es]", "evaluate.languages: 'es' is trained"),
        ("evaluate.languages=[cy]", "no prompts in 'cy'"),
        ("evaluate.sentences=[nowhere.jsonl]", "nowhere.jsonl"),
        ("evaluate.sentences=[bundled:prompts-train.jsonl]", "field 'text' is missing"),
        ("evaluate={sentences: [], sentences_limit: 3, judge: {kind: fake}}", "needs sentences"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(croco, recipes, tmp_path, override, said):
    refused(croco("run", recipes / "fake.yaml", "--set", override), said)
    assert not list(tmp_path.glob("store/*/shard-*"))
