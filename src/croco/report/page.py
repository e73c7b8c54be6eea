"""The report of a run as one HTML page that needs nothing else: no network, fonts or scripts."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from croco.records import MULTIPLE, Metric, Side, Step
from croco.report import plots
from croco.report.plots import Pool
from croco.report.summary import lang_name, row_name

#: Metric -> its name, what it says, and its decimals; a metric that is not here shows its own name.
METRICS: dict[str, tuple[str, str, int]] = {
    "win_rate": (
        "Win rate",
        "share of tuned-base answer pairs that the judge gives to tuned, ties as half; base is 0.5",
        2,
    ),
    "win_rate_in_language": (
        "Win rate, both in language",
        "win rate among the comparisons in which neither answer is known to be in another language than"
        " its prompt's; their share is under Judged comparisons",
        2,
    ),
    "win_rate_language_alone": (
        "Win rate by language alone",
        "what a judge would say who knows nothing but the languages: an answer in another language than"
        " its prompt's loses to one that is not, all others tie",
        2,
    ),
    "win_rate_length_controlled": (
        "Win rate, length-controlled",
        "what the judge would say if both answers were equally long (after AlpacaEval 2)",
        2,
    ),
    "win_rate_language_adjusted": (
        "Win rate, language-adjusted",
        "win rate where an answer in another language than its prompt's cannot win; one whose language"
        " cannot be told can",
        2,
    ),
    "language_fidelity": (
        "Language fidelity",
        "share of answers identified as being in the language of their prompt, of those whose language"
        " can be told",
        2,
    ),
    "second_fidelity": (
        "Fidelity, second identifier",
        "the same share by a second identifier, which checks the first",
        2,
    ),
    "line_pass_rate": (
        "Line pass rate",
        "share of answers of which every line of five words or more is in the prompt's language; answers"
        " without such a line are left out",
        2,
    ),
    "word_pass_rate": (
        "Word pass rate",
        "share without an English word among the answers whose lines pass, in languages that are not"
        " written in Latin letters",
        2,
    ),
    "mean_length": ("Mean length", "tokens per answer, reasoning aside", 1),
    "distinct_2": (
        "Distinct bigrams",
        "distinct word pairs over word pairs of an answer; low where an answer repeats itself",
        3,
    ),
    "finished": ("Finished", "share of answers that ended before the token limit", 2),
    "reasoned": ("With reasoning", "share of answers with reasoning before them", 2),
    "answered": ("With an answer", "share with text outside their reasoning", 2),
    "loss_per_token": ("Loss per token", "negative log-likelihood in nats per token", 3),
    "bits_per_byte": ("Bits per byte", "negative log-likelihood in bits per byte of UTF-8", 4),
}


@dataclass(frozen=True, slots=True)
class StageRows:
    """Rows that a stage made and was sealed without, and how often each error was the cause."""

    stage: str
    made: int
    owed: int = 0
    errors: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pairing:
    """What an arm's pairing made of its pools; `without` counts pools that gave no pair, by reason, `best`
    those with an answer that may be chosen, which SFT trains on.

    `fallbacks` counts pools whose target lay below every reward, so that rejected is the minimum.
    `filtered` counts responses that a filter kept from a side, `refused` pairs that were refused.
    `untold` counts responses that passed the language filter since their language cannot be told.
    """

    arm: str
    strategy: str
    pools: int
    pairs: int
    fallbacks: int
    without: dict[str, int] = field(default_factory=dict)
    filtered: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    best: int = 0
    untold: int = 0


@dataclass(frozen=True, slots=True)
class Triple:
    """A training example: a prompt with its chosen and its rejected answer; SFT has no rejected one."""

    arm: str
    id: str
    lang: str
    prompt: str
    chosen: Side
    rejected: Side | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """A base and a tuned answer to one held-out prompt, the languages identified in them, if known.

    `win_rate` is tuned's over all answers to the prompt, not that of the two shown.
    """

    arm: str
    id: str
    lang: str
    prompt: str
    base: str
    tuned: str
    win_rate: float = float("nan")
    base_language: str = ""
    tuned_language: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the page: its anchor, its title, a template of this folder, and what that shows.

    `plots` are SVG of our own; they alone are not escaped.
    """

    id: str
    title: str
    template: str
    values: dict[str, Any]
    plots: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """All that the page shows; `curves` and `pools` are by arm, `notes` one paragraph each.

    `diagnoses` are the pair doctor's, with their verdicts.
    """

    name: str
    seed: int
    result: str
    metrics: list[Metric]
    curves: dict[str, list[Step]] = field(default_factory=dict)
    pools: dict[str, list[Pool]] = field(default_factory=dict)
    rows: list[StageRows] = field(default_factory=list)
    translations: list[dict[str, Any]] = field(default_factory=list)
    pairing: list[Pairing] = field(default_factory=list)
    diagnoses: list[dict[str, Any]] = field(default_factory=list)
    triples: list[Triple] = field(default_factory=list)
    answers: list[Answers] = field(default_factory=list)
    recipe: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)


def page(report: Report, template: str = "page.html.jinja") -> str:
    """The page as HTML, by a template of this folder; equal reports give equal bytes.

    Every text is escaped.
    """
    import jinja2
    from markupsafe import Markup

    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "delta": delta, "mark": mark, "lang_name": lang_name}
    environment.filters |= {"share": share, "rate": rate, "row_name": row_name}
    drawn = {
        kind: {key: Markup(svg) for key, svg in plot.items()}  # noqa: S704  (drawn by us, escaped)
        for kind, plot in _drawn(report).items()
    }
    more = {one.id: {key: Markup(svg) for key, svg in one.plots.items()} for one in report.sections}  # noqa: S704
    return environment.get_template(template).render(
        report=report,
        names=METRICS,
        metrics=_by_metric(report.metrics),
        headline=_headline(report.metrics),
        provenance={key: _shown(value) for key, value in report.provenance.items()},
        section_plots=more,
        **drawn,
    )


def number(value: float, decimals: int = 2) -> str:
    """A number with so many decimals, or "n/a" where there is none."""
    return f"{value:.{decimals}f}" if math.isfinite(value) else "n/a"


def share(value: float | dict[str, Any] | None) -> str:
    """A share in per cent, a rule's with its interval, or "n/a" where it is not known."""
    if value is None:
        return "n/a"
    if not isinstance(value, dict):
        return f"{value:.0%}"
    low, high = (share(bound) for bound in value["ci"])
    return f"{value['share']:.0%} [{low}, {high}]"


def rate(found: dict[str, Any], form: str = ".2f") -> str:
    """A rate with its interval, such as "0.61 [0.55, 0.67]"."""
    shown = [
        "n/a" if value is None else format(value + 0.0, form)
        for value in (found["rate"], *found["ci"])
    ]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def delta(row: Metric) -> str:
    """The difference with its interval, such as "+0.21 [+0.10, +0.33]"."""
    decimals = shown_decimals(row.ci[0], row.ci[1], METRICS.get(row.metric, ("", "", 2))[2])
    shown = [
        f"{value + 0.0:+.{decimals}f}" if math.isfinite(value) else "n/a"
        for value in (row.delta, *row.ci)
    ]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def shown_decimals(low: float, high: float, least: int) -> int:
    """So many decimals that an interval with a width shows it: 0.001 to 0.004 is not 0.00 to 0.00."""
    while least < 6 and 0 < high - low < 2 * 10**-least:
        least += 1
    return least


def mark(row: Metric) -> str:
    """ "up" or "down" where the interval lies wholly above or below zero, else nothing."""
    if not plots.excludes_zero(row):
        return ""
    return "up" if row.ci[0] > 0 else "down"


def _drawn(report: Report) -> dict[str, dict[str, str]]:
    by_metric = _by_metric(report.metrics)
    return {
        "forests": {
            name: plots.forest_plot(rows, f"forest-{k}")
            for k, (name, rows) in enumerate(by_metric.items())
        },
        "curves": {
            arm: plots.curve_plot(steps, f"curve-{k}")
            for k, (arm, steps) in enumerate(report.curves.items())
        },
        "sizes": {
            one["name"]: plots.size_plot(_by_n(one), f"sizes-{k}")
            for k, one in enumerate(report.diagnoses)
        },
        "spreads": {
            one["name"]: plots.spread_plot(one["languages"], f"spread-{k}")
            for k, one in enumerate(report.diagnoses)
        },
        "rewards": {
            arm: plots.reward_plot(pools, f"reward-{k}")
            for k, (arm, pools) in enumerate(report.pools.items())
            if pools
        },
    }


def _by_n(diagnosis: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    found = {lang: own.get("by_n") for lang, own in diagnosis["languages"].items()}
    return {lang: sizes for lang, sizes in found.items() if sizes}


def _by_metric(metrics: Sequence[Metric]) -> dict[str, list[Metric]]:
    names = dict.fromkeys(row.metric for row in metrics)
    return {name: [row for row in metrics if row.metric == name] for name in names}


def _headline(metrics: Sequence[Metric]) -> dict[str, dict[str, Metric]]:
    """The averages over languages: arm -> metric -> figure."""
    table: dict[str, dict[str, Metric]] = {}
    for row in metrics:
        if row.lang == MULTIPLE:
            table.setdefault(row.arm, {})[row.metric] = row
    return table


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
