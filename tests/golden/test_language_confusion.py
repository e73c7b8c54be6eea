"""The language confusion benchmark's published line pass rates come out of its published completions."""

import csv
import json
import os
from collections import defaultdict
from pathlib import Path
from statistics import mean

import pytest

from croco.evaluation_settings import Evaluation
from croco.fidelity import pass_rates
from croco.languages import load_identifier

DATA = Path(os.environ.get("CROCO_DATA", Path(__file__).parents[3] / "shared" / "data"))
FOLDER = DATA / "language_confusion"
LANGUAGES = {"de", "en", "es", "fr", "it", "pt"}

pytestmark = pytest.mark.skipif(
    not FOLDER.exists(), reason="the published completions are not here"
)


@pytest.fixture(scope="module")
def completions():
    """Texts by model, language and source."""
    cells = defaultdict(list)
    for line in (FOLDER / "completions_monolingual.jsonl").read_text().splitlines():
        row = json.loads(line)
        cells[row["model"], row["lang"], row["source"]].append(row["completion"])
    return {key: texts for key, texts in cells.items() if key[1] in LANGUAGES}


@pytest.fixture(scope="module")
def published():
    """Rates from 0 to 1 by model, language and source."""
    with (FOLDER / "published_reproduction_pass_rates_results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["task"] == "monolingual"]
    return {(row["model"], row["lang"], row["source"]): float(row["lpr"]) for row in rows}


def differences(completions, published, name):
    """Points by model and language, which are means over sources as in the published table."""
    identifier = load_identifier(name)
    cells = defaultdict(list)
    for (model, lang, source), texts in completions.items():
        rates = pass_rates(texts, lang, identifier)
        assert rates.word is None
        cells[model, lang].append(100 * (rates.line.mean - published[model, lang, source]))
    return {key: mean(own) for key, own in cells.items()}


def test_the_default_identifier_gives_the_published_rates(completions, published):
    name = Evaluation.model_fields["identifier"].default
    pytest.importorskip(name)
    found = differences(completions, published, name)
    assert {lang for _, lang in found} == LANGUAGES
    assert mean(map(abs, found.values())) < 1.0
    assert max(map(abs, found.values())) < 3.5


def test_the_second_identifier_is_as_near_but_for_lines_that_it_is_unsure_of(
    completions, published
):
    """py3langid's probabilities are flat on short English lines, where it falls short."""
    pytest.importorskip("py3langid")
    found = differences(completions, published, "py3langid")
    assert mean(map(abs, found.values())) < 1.6
    others = [abs(points) for (_, lang), points in found.items() if lang != "en"]
    assert mean(others) < 1.0
