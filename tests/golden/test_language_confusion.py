"""The language confusion benchmark's published line pass rates come out of its published completions."""

import csv
import json
import math
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


def errors(completions, published):
    """What completions of that number leave open of the published rates: their standard errors, in points.

    Two more of either kind keep an error where the rate is 0 or 1.
    """
    cells = defaultdict(list)
    for (model, lang, source), texts in completions.items():
        rate = (published[model, lang, source] * len(texts) + 2) / (len(texts) + 4)
        cells[model, lang].append(100**2 * rate * (1 - rate) / len(texts))
    return {key: math.sqrt(sum(own)) / len(own) for key, own in cells.items()}


@pytest.mark.parametrize("name", [Evaluation.model_fields["identifier"].default, "py3langid"])
def test_identifiers_give_the_published_rates_within_their_error(completions, published, name):
    """Ours are other identifiers than the published one: what they differ by may not exceed what the rates
    are uncertain by anyway, on average, nor three times that anywhere."""
    pytest.importorskip(name)
    found, error = differences(completions, published, name), errors(completions, published)
    assert {lang for _, lang in found} == LANGUAGES
    assert mean(map(abs, found.values())) < mean(error.values())
    if name == Evaluation.model_fields["identifier"].default:
        assert mean(map(abs, found.values())) < 1.0  # holds on other completions too
    assert all(abs(points) < 3 * error[key] for key, points in found.items())
