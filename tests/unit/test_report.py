"""The summary's shape, and a page that stands alone and lets no text through as markup."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from croco.auditing import audit
from croco.pairing.verdicts import Verdict
from croco.records import UNTRAINED, Audited, Metric, Side, Step
from croco.report.audit import section
from croco.report.page import Answers, Pairing, Report, StageRows, Triple, delta, mark, page
from croco.report.plots import (
    Pool,
    curve_plot,
    forest_plot,
    reward_plot,
    size_plot,
    spread_plot,
)
from croco.report.summary import summary

NAN = float("nan")
EVIL = "<script>alert(1)</script> & \" ' </pre><b>"
METRICS = [
    Metric("dpo", "de", "win_rate", 0.5, 0.71, 0.21, [0.1, 0.33], 16, 8),
    Metric("dpo", "mul", "win_rate", 0.5, 0.61, 0.11, [-0.02, 0.2], 32, 8),
    Metric("dpo", "de", "mean_length", 30.0, 24.0, -6.0, [-9.0, -1.0], 16, 8),
    Metric("dpo", "mul", "mean_length", 30.0, 30.0, 0.0, [NAN, NAN], 32, 1),
]
STEPS = [Step(k, k / 4, 0.7 - k / 10, 1e-4, -50.0, -60.0 - k, k / 2, 0.5) for k in range(4)]
POOLS = [Pool("de", [0.0, 1.0, 2.0], [2.0], [0.0]), Pool("fr", [3.0, 4.0], [4.0], [3.0])]


def diagnosis(text="plain"):
    """A pair doctor's, of a pairing that spans languages."""
    rule = {"share": 0.625, "ci": [0.5, 0.75], "pairs": 40}
    sizes = [{"n": n, "pools": 9, "gap": n / 8, "target_below_minimum": 1 / n} for n in (4, 8)]
    figures = {
        "pairs": 40,
        "pools": 41,
        "target_below_minimum": 0.31,
        "longer_is_chosen": rule,
        "margins": [1.0, 2.0, 3.0, 4.0, 5.0],
        "length_gaps": [-2.0, -1.0, 0.0, 1.0, 2.0],
        "by_n": sizes,
    }
    return {
        "name": text,
        "settings": {"scope": "multilingual"},
        "languages": {"de": figures, "fr": {"pairs": 0, "margins": [], "length_gaps": []}},
        "matrix": {"de": {"fr": 17}},
        "matrix_of_raw_rewards": {"fr": {"fr": 23}},
        "on_policy": {"policy": text, "chosen": 0.5, "rejected": None},
        "n_advice": text,
        "verdicts": [Verdict("bad", "de", text, text)],
    }


def audited(flaw):
    rows = [Audited(f"p{k}", "de", flaw, k % 3, 1.0, 9 + k, 9, True, k > 2) for k in range(40)]
    return section(audit(rows, 1))


def report(text="plain"):
    side = Side("de", 0, text, 1.5, 1.5, "length", text)
    return Report(
        name=text,
        seed=42,
        result=text,
        metrics=METRICS,
        curves={"dpo": STEPS},
        pools={"dpo": POOLS},
        rows=[StageRows("score", 119, 1, {text: 1})],
        pairing=[Pairing("dpo", "mean-2std", 40, 36, 30, {text: 4}, {text: 2}, {text: 1})],
        diagnoses=[diagnosis(text)],
        triples=[Triple("dpo", text, "de", text, side, side)],
        answers=[Answers("dpo", text, "de", text, text, text, 0.7, "en", "de")],
        recipe=f"name: {text}",
        provenance={"python": "3.11", "git": None, "argv": [text]},
        notes=[text],
        sections=[audited(text)],
    )


OTHERS = [
    Metric("dpo", "it", "win_rate", 0.5, 0.4, -0.1, [-0.2, -0.05], 16, 8, trained=False),
    Metric("dpo", UNTRAINED, "win_rate", 0.5, 0.4, -0.1, [-0.2, -0.05], 16, 8, trained=False),
]


class Reader(HTMLParser):
    """Collects what a browser would see: tags, attributes, and the text between them."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.attributes, self.words = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def words(html):
    return " ".join(" ".join(Reader(html).words).split())


def test_summary_has_the_agreed_shape():
    assert summary(METRICS) == {
        "arms": {
            "dpo": {
                "de": {
                    "win_rate": {
                        "base": 0.5,
                        "tuned": 0.71,
                        "delta": 0.21,
                        "ci": [0.1, 0.33],
                        "n": 16,
                    },
                    "mean_length": {
                        "base": 30.0,
                        "tuned": 24.0,
                        "delta": -6.0,
                        "ci": [-9.0, -1.0],
                        "n": 16,
                    },
                },
                "average": {
                    "win_rate": {
                        "base": 0.5,
                        "tuned": 0.61,
                        "delta": 0.11,
                        "ci": [-0.02, 0.2],
                        "n": 32,
                    },
                    "mean_length": {
                        "base": 30.0,
                        "tuned": 30.0,
                        "delta": 0.0,
                        "ci": [None, None],
                        "n": 32,
                    },
                },
            }
        },
        "untrained": [],
    }


def test_summary_is_valid_json():
    text = json.dumps(summary(METRICS), allow_nan=False)
    assert json.loads(text)["arms"]["dpo"]["average"]["mean_length"]["ci"] == [None, None]


def test_differences_as_people_read_them():
    assert delta(METRICS[0]) == "+0.21 [+0.10, +0.33]"
    assert delta(METRICS[2]) == "-6.0 [-9.0, -1.0]"
    assert delta(METRICS[3]) == "+0.0 [n/a, n/a]"
    assert delta(dataclasses.replace(METRICS[0], delta=-0.0)).startswith("+0.00")
    assert [mark(row) for row in METRICS] == ["up", "", "down", ""]


def test_page_escapes_every_text():
    html = page(report(EVIL))
    assert "<script" not in html
    assert "<b>" not in html
    seen = Reader(html)
    assert not seen.open
    assert {"script", "b", "link", "img", "iframe"}.isdisjoint(seen.tags)
    # result, note, error, reason, prompts, ids and answers all show the text as it was written
    assert " ".join(seen.words).count(EVIL) >= 20


def test_page_reaches_for_nothing_outside():
    html = page(report())
    assert not re.search(r"//|@import|url\((?!#)", html)
    links = [value for name, value in Reader(html).attributes if name in ("href", "xlink:href")]
    assert links
    assert all(link.startswith("#") for link in links)
    assert not [name for name, _ in Reader(html).attributes if name in ("src", "srcset")]


def test_page_ids_are_unique_and_links_lead_somewhere():
    seen = Reader(page(dataclasses.replace(report(), curves={"dpo": STEPS, "sft": STEPS})))
    ids = [value for name, value in seen.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    links = {value[1:] for name, value in seen.attributes if name in ("href", "xlink:href")}
    assert links <= set(ids)


def test_page_says_what_was_found():
    text = words(page(report()))
    assert "Arm Win rate Mean length dpo +0.11 [-0.02, +0.20]" in text
    assert "+0.21 [+0.10, +0.33] ▲" in text
    assert "-6.0 [-9.0, -1.0] ▼" in text
    assert "dpo average 0.50 0.61 +0.11 [-0.02, +0.20] ▲ 32 8" in text
    # Of 40 rewards 0, 1, 2, ... against 1.0, 13 are right and 13 ties; all chosen but one are longer.
    assert "de 40 49% [36%, 62%] 99% [92%, 100%] n/a -50 [-63, -37]" in text
    assert "How far it can be trusted, per language: see the reward audit" in text
    assert "30 (75 %)" in text
    assert "score 119 1 1 \N{MULTIPLICATION SIGN} plain" in text
    assert "chosen · reward 1.50 · de · cut off" in text


def test_page_says_what_the_pair_doctor_found():
    text = words(page(report()))
    assert "bad , de: plain; plain." in text
    assert "de 41 40 31% 62% [50%, 75%] n/a" in text
    assert "Language of chosen (down) and of rejected (across) de fr de 0 17 fr 0 0" in text
    assert "by raw rewards de fr de 0 0 fr 0 23" in text
    assert "Written by plain: 50% of the chosen, n/a of the rejected." in text


def test_plots_of_pairs():
    assert "Gap, and share" in size_plot({"de": diagnosis()["languages"]["de"]["by_n"]}, "s")
    assert ">de</text>" in spread_plot(diagnosis()["languages"], "d")


def test_a_mark_that_is_only_there_for_its_width_is_hidden():
    html = page(report())
    marks = re.findall(r'<span class="mark([^>]*)>(.)</span>', html)
    # Two tables, each with four figures or their two averages: one up, one down, the rest hidden.
    assert len(marks) == 6
    assert [shape for rest, shape in marks if "none" not in rest] == ["▲", "▼"]
    assert all('aria-hidden="true"' in rest for rest, _ in marks if "none" in rest)


def test_page_of_an_empty_report():
    text = words(page(Report("empty", 1, "Nothing was run.", [])))
    assert "No arm was compared with the base." in text
    assert "The reward was not audited." in text


def test_a_metric_that_the_page_does_not_know_keeps_its_name():
    row = dataclasses.replace(METRICS[1], metric="euroeval-da")
    assert "euroeval-da" in words(page(Report("r", 1, "", [row])))


def test_equal_reports_give_equal_bytes():
    assert page(report()) == page(report())


def test_plots_carry_no_date_and_no_fixed_colours():
    for svg in (
        forest_plot(METRICS[:2], "f"),
        curve_plot(STEPS, "c"),
        reward_plot(POOLS, "r"),
    ):
        assert svg.startswith("<svg ")
        assert "date" not in svg.lower()
        assert not re.search(r"#[0-9a-fA-F]{6}\b", svg)
        assert "var(--ink)" in svg


def test_forest_plot_fills_only_intervals_without_zero():
    filled = forest_plot(METRICS[:1], "f").count("fill: var(--series-0)")
    hollow = forest_plot(METRICS[1:2], "f").count("fill: var(--series-0)")
    assert filled > 0
    assert hollow == 0


def test_curve_plot_of_a_method_without_a_margin():
    steps = [Step(k, k / 4, 2.0, 1e-4, NAN, NAN, NAN, NAN) for k in range(4)]
    assert curve_plot(steps, "c").count("not logged by this method") == 3
    assert "not logged" not in curve_plot(STEPS, "c")


def test_reward_plot_marks_chosen_and_rejected_in_every_language():
    svg = reward_plot([*POOLS, Pool("fr", [1.0, 5.0], [5.0], [])], "r")
    assert ">de</text>" in svg
    assert ">fr</text>" in svg
    assert len(re.findall(r"<use [^>]*series-0", svg)) == 3
    assert len(re.findall(r"<use [^>]*series-1", svg)) == 2


def test_reward_plot_stays_small():
    many = Pool("de", list(map(float, range(5000))), list(map(float, range(5000))), [])
    svg = reward_plot([many], "r")
    assert len(re.findall(r"<use [^>]*series-0", svg)) == 150


@pytest.mark.parametrize("plot", [forest_plot, curve_plot, reward_plot, size_plot, spread_plot])
def test_plots_of_nothing(plot):
    empty = {} if plot in (size_plot, spread_plot) else []
    assert plot(empty, "x").startswith("<svg ")


def test_importing_the_report_loads_no_plotting():
    code = (
        "import sys, croco.report.page; print('matplotlib' in sys.modules, 'jinja2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_what_was_not_trained_is_marked_and_stands_below():
    made = summary([*OTHERS, *METRICS])
    assert made["untrained"] == ["it"]
    assert set(made["arms"]["dpo"]) == {"de", "average", "it", "average (not trained)"}
    plot = forest_plot([*OTHERS, *METRICS[:2]], "forest")
    labels = [found for found in re.findall(r">([^<>]+)</text>", plot) if found[0].isalpha()]
    ordered = ["de", "average", "it (not trained)", "average (not trained)"]
    assert [label for label in labels if label in ordered] == ordered
    seen = words(page(dataclasses.replace(report(), metrics=[*METRICS, *OTHERS])))
    assert "it (not trained)" in seen
    assert "average (not trained)" in seen


def test_a_narrow_interval_is_shown_with_its_width():
    def shown(low, mean, high):
        return delta(Metric("dpo", "de", "language_fidelity", 0.99, 0.99, mean, [low, high], 9, 9))

    assert shown(-0.0037, 0.0, 0.0037) == "+0.000 [-0.004, +0.004]"
    assert shown(0.0002, 0.0004, 0.0006) == "+0.0004 [+0.0002, +0.0006]"
    assert shown(-0.1, 0.02, 0.14) == "+0.02 [-0.10, +0.14]"
    assert shown(0.0, 0.0, 0.0) == "+0.00 [+0.00, +0.00]"
