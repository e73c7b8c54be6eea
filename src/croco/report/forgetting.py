"""What tuning has forgotten: the loss of base and tuned on the same sentences, per language.

The model's own tokens are longer in some languages than in others, so a loss per token compares base
and tuned in one language; bits per byte compare languages as well, of one script. A figure is the mean
over sentences, each with the same weight, and sentences are what is resampled (`croco.stats`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from croco import stats
from croco.comparing import is_trained, scopes
from croco.languages import same_language
from croco.records import MULTIPLE, UNTRAINED, Key, Loss, Metric
from croco.report.page import Section
from croco.report.parts import Part
from croco.report.plots import forest_plot
from croco.report.summary import lang_name, row_name
from croco.stage import Sealed

AVERAGES = (MULTIPLE, UNTRAINED)
#: Measure -> its value for one sentence.
MEASURES: dict[str, Callable[[Loss], float]] = {
    "loss_per_token": lambda row: row.nats / row.tokens,
    "bits_per_byte": lambda row: row.nats / math.log(2) / row.bytes,
}


def forgetting(inputs: Mapping[str, Sealed], recipe: dict[str, Any]) -> Part | None:
    """The part "forgetting"; None where the run has no sentences."""
    if "sentences" not in inputs:
        return None
    keys: set[Key] = {row.key for row in inputs["sentences"].rows()}
    languages = sorted({lang for _, lang in keys})
    trained = trained_among(languages, recipe["languages"], recipe["evaluate"]["languages"])
    base: list[Loss] = list(inputs["base.loss"].rows())
    rows = [
        row
        for arm in recipe["arms"]
        for row in losses(arm, base, inputs[f"{arm}.loss"].rows(), trained, recipe["seed"])
    ]
    wanted = [*recipe["languages"], *recipe["evaluate"]["languages"]]
    lacking = [one for one in wanted if not any(same_language(one, own) for own in languages)]
    ids = len({id for id, _ in keys})
    words = [in_words(arm, rows) for arm in recipe["arms"]]
    figures = {
        "sentences": ids,
        "without_sentences": lacking,
        "arms": _figures(rows, ids),
        "in_words": words,
    }
    return Part("forgetting", figures, _section(rows, ids, words, lacking))


def trained_among(
    languages: Iterable[str], trained: Collection[str], untrained: Collection[str]
) -> list[str]:
    """Which languages were trained, under whatever tag, and are not said to be `untrained`."""
    return [
        lang
        for lang in languages
        if lang not in untrained and any(same_language(lang, own) for own in trained)
    ]


def losses(
    arm: str, base: Iterable[Loss], tuned: Iterable[Loss], trained: Collection[str], seed: int
) -> list[Metric]:
    """The arm's figures by measure and `scopes`, over the sentences that both sides have."""
    before, after = {row.key: row for row in base}, {row.key: row for row in tuned}
    both = sorted(before.keys() & after.keys())
    found = []
    for name, value in MEASURES.items():
        sides = {key: (value(before[key]), value(after[key])) for key in both}
        for lang, own in scopes({key[1] for key in both}, trained).items():
            chosen = {key: pair for key, pair in sides.items() if key[1] in own}
            found.append(_metric(arm, lang, name, chosen, is_trained(own[0], trained), seed))
    return found


def _metric(
    arm: str,
    lang: str,
    name: str,
    sides: Mapping[Key, tuple[float, float]],
    trained: bool,
    seed: int,
) -> Metric:
    before: dict[str, dict[str, list[float]]] = {}
    after: dict[str, dict[str, list[float]]] = {}
    for (id, own), (one, other) in sides.items():
        before.setdefault(own, {})[id] = [one]
        after.setdefault(own, {})[id] = [other]
    found = stats.average_difference(before, after, seed)
    ci = [found.delta.low, found.delta.high]
    n, ids = len(sides), found.clusters
    return Metric(arm, lang, name, found.base, found.tuned, found.delta.mean, ci, n, ids, trained)


def in_words(arm: str, rows: Sequence[Metric]) -> str:
    """One sentence: in which languages the arm's loss rose, and fell, by more than chance explains."""
    own = [row for row in rows if row.arm == arm and row.metric == "bits_per_byte"]
    own = [row for row in own if row.lang not in AVERAGES]
    rose = [row_name(row) for row in own if row.ci[0] > 0]
    fell = [row_name(row) for row in own if row.ci[1] < 0]
    return (
        f"{arm}: of {len(own)} languages, the loss rose in {_listed(rose)} and fell in"
        f" {_listed(fell)}, by 95 % intervals without zero."
    )


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)} ({', '.join(names)})" if names else "none"


def _missing(row: Metric, rows: Sequence[Metric], ids: int) -> int:
    """The sentences that a figure lacks; of an average, in all of its languages together."""
    if row.lang not in AVERAGES:
        return ids - row.n
    alike = (row.arm, row.metric, row.trained)
    own = [one for one in rows if (one.arm, one.metric, one.trained) == alike]
    return sum(ids - one.n for one in own if one.lang not in AVERAGES)


def _figures(rows: Sequence[Metric], ids: int) -> dict[str, Any]:
    """Arm -> language -> figures; `missing` counts the sentences that a language, or a side, lacks."""
    arms: dict[str, Any] = {}
    for row in rows:
        own = arms.setdefault(row.arm, {}).setdefault(lang_name(row.lang), {})
        own |= {"trained": row.trained, "n": row.n, "missing": _missing(row, rows, ids)}
        own[row.metric] = {
            "base": row.base,
            "tuned": row.tuned,
            "delta": row.delta,
            "ci": [bound if math.isfinite(bound) else None for bound in row.ci],
        }
    return arms


def _section(
    rows: Sequence[Metric], ids: int, words: Sequence[str], lacking: Sequence[str]
) -> Section:
    """The page's section: one line per arm and language, both measures side by side."""
    bits = [row for row in rows if row.metric == "bits_per_byte"]
    tokens = {(row.arm, row.lang): row for row in rows if row.metric == "loss_per_token"}
    lines = [(tokens[row.arm, row.lang], row, _missing(row, rows, ids)) for row in bits]
    values = {"lines": lines, "words": words, "ids": ids, "lacking": lacking}
    plots = {"bits": forest_plot(bits, "forgetting")} if bits else {}
    return Section("forgetting", "Forgetting", "forgetting.html.jinja", values, plots)
