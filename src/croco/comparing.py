"""Judged comparisons to figures: wins, win rates with intervals, flips, length and language controlled.

A comparison is of one base and one tuned answer to a prompt; a model judges it twice, with either answer
shown first, and each verdict is a judgment. A comparison's value is the mean of its verdicts (win 1, tie
one half, loss 0). One with a missing verdict has no value: it is counted, and stands in no rate.
Prompts are the clusters that are resampled (see `croco.stats`), and each weighs the same.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from croco import length
from croco.arrays import Bools, Floats
from croco.intervals import outer, students
from croco.records import MULTIPLE, UNTRAINED
from croco.stats import NAN, RESAMPLES, Interval, average, resampled

#: What a verdict on tuned is worth; "none" is a verdict that the judge did not give.
VALUES = {"win": 1.0, "tie": 0.5, "loss": 0.0}


NOTHING = Interval(NAN, NAN, NAN)
#: Statements on lengths that leave a length-controlled rate as the plain one, or unknown.
NO_TERM = (
    "there is no length term, since all length differences are the same: the rate is the plain one"
)
ALL_TOLD = "length alone tells every verdict, so that nobody knows what equal lengths would give"


#: Answers of base and of tuned that were compared with none.
Unmet = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One base and one tuned answer to a prompt: the verdicts on tuned, both lengths in characters, and
    whether base and tuned are in the prompt's language: None for one that cannot be told, and none at all
    where nobody identified them. `answer` tells tuned's answers to one prompt apart, `reasons` say why
    verdicts are missing, "" of those that are not."""

    id: str
    lang: str
    verdicts: Sequence[str]
    lengths: tuple[int, int]
    in_language: tuple[bool | None, bool | None] | None = None
    answer: int = 0
    reasons: Sequence[str] = ()

    @property
    def value(self) -> float:
        """From 0 to 1; NaN where a verdict is missing."""
        return _mean([VALUES.get(verdict, NAN) for verdict in self.verdicts])

    @property
    def adjusted(self) -> float:
        """The value where an answer in the wrong language cannot win: a win of such a one is the other's
        win, and a tie where both are wrong. One that cannot be told is not wrong. Where nobody identified
        the languages it is the plain value, which stands in no language-adjusted rate."""
        return _mean([VALUES.get(self._adjusted(verdict), NAN) for verdict in self.verdicts])

    @property
    def in_own_language(self) -> float:
        """1.0 where neither answer is known to be in a wrong language, else 0.0; NaN where nobody
        identified the languages."""
        return NAN if self.in_language is None else float(False not in self.in_language)

    @property
    def value_in_own_language(self) -> float:
        """The value where neither answer is known to be in a wrong language; else NaN."""
        return self.value if self.in_own_language == 1.0 else NAN

    @property
    def value_of_language(self) -> float:
        """What a judge would say who knows nothing but the languages: an answer that is known to be in a
        wrong one loses to one that is not. NaN where nobody identified them."""
        if self.in_language is None:
            return NAN
        base, tuned = self.in_language
        return 0.5 + 0.5 * ((base is False) - (tuned is False))

    def _adjusted(self, verdict: str) -> str:
        if self.in_language is None or verdict not in ("win", "loss"):
            return verdict
        base_wrong, tuned_wrong = (one is False for one in self.in_language)
        if base_wrong and tuned_wrong:
            return "tie"
        winner_is_wrong = tuned_wrong if verdict == "win" else base_wrong
        return ("loss" if verdict == "win" else "win") if winner_is_wrong else verdict


@dataclass(frozen=True, slots=True)
class Judged:
    """The figures of one language, or their average over `languages` (`lang` is then "mul"). Languages
    that were asked for and have no figure are `lacking`.

    `answers` are tuned's that were judged. Wins, ties and losses count judgments of comparisons that
    have a value; `unparseable` counts comparisons without one, of all `comparisons`, and `missing` the
    judgments that they lack, by reason. `left_out` are answers of base and tuned that were compared with
    none, since the other side has fewer. `flip_rate` is the
    share of comparisons whose two orders got different verdicts, `reversal_rate` of those where even the
    winner changed, and `first_wins` the share of decided judgments that the answer shown first won; they
    are None where a judge sees no order. `needed` are the prompts that show a difference of so many
    points. `in_language` is the win rate among the comparisons in which neither answer is known to be in a
    wrong language, `in_language_share` their share and `in_language_prompts` and `in_language_answers`
    what they are of; `language_alone` is the rate that a judge would give who knows nothing but the
    languages. Of the comparisons with a value, `language_unknown` counts those whose languages nobody
    identified, which stand in no language-adjusted rate, and `cannot_tell` those with an answer whose
    language cannot be told.
    """

    lang: str
    prompts: int
    answers: int
    comparisons: int
    wins: int
    ties: int
    losses: int
    unparseable: int
    win_rate: Interval
    length_controlled: Interval
    length_term: float
    language_adjusted: Interval
    flip_rate: float | None
    reversal_rate: float | None
    first_wins: float | None
    needed: dict[int, int]
    language_unknown: int = 0
    cannot_tell: int = 0
    in_language: Interval = NOTHING
    in_language_share: Interval = NOTHING
    in_language_prompts: int = 0
    in_language_answers: int = 0
    language_alone: Interval = NOTHING
    languages: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    missing: dict[str, int] = field(default_factory=dict)
    left_out: Unmet = (0, 0)


def judged(
    rows: Sequence[Comparison],
    seed: int,
    resamples: int = RESAMPLES,
    trained: Collection[str] | None = None,
    asked: Collection[str] = (),
) -> dict[str, Judged]:
    """The figures by `scopes`: per language, and averaged over the trained and the other languages.

    `asked` are languages that have figures even where no row is left of them: counts of zero.
    """
    rows = sorted(rows, key=lambda row: (row.lang, row.id, row.answer, row.lengths, row.verdicts))
    groups = scopes({row.lang for row in rows} | {*asked}, trained) or {MULTIPLE: []}
    return {
        lang: _of_scope(lang, own, [row for row in rows if row.lang in own], seed, resamples)
        for lang, own in groups.items()
    }


def _of_scope(
    lang: str, own: Sequence[str], rows: list[Comparison], seed: int, resamples: int
) -> Judged:
    """A scope's figures, all over the same languages."""
    found = _judged(lang, rows, seed, resamples)
    plain, adjusted = values_of(rows), values_of(rows, _adjusted)
    lacking = tuple(one for one in own if one not in plain)
    notes = [
        f"the average is over {', '.join(sorted(plain))} alone: {', '.join(lacking)} has no figure"
    ]
    notes = notes if lacking and plain else []
    if unknown := sorted(plain.keys() - adjusted.keys()) if adjusted else []:
        nothing = Interval(NAN, NAN, NAN)
        found = replace(found, language_adjusted=nothing)
        notes.append(
            f"there is no language-adjusted average: nobody identified the answers in {', '.join(unknown)}"
        )
    languages = tuple(one for one in own if one in plain)
    return replace(found, languages=languages, lacking=lacking, notes=[*notes, *found.notes])


def scopes(languages: Collection[str], trained: Collection[str] | None) -> dict[str, list[str]]:
    """What a figure is given for, and the languages in it: each trained one and their average "mul",
    then each of the others and theirs."""
    found: dict[str, list[str]] = {}
    for over, wanted in ((MULTIPLE, True), (UNTRAINED, False)):
        own = [lang for lang in sorted(languages) if is_trained(lang, trained) == wanted]
        found |= {lang: [lang] for lang in own} | ({over: own} if own else {})
    return found


def is_trained(lang: str, trained: Collection[str] | None) -> bool:
    """Whether a language is among the `trained` ones; None: all are."""
    return trained is None or lang in trained


def _judged(lang: str, rows: list[Comparison], seed: int, resamples: int) -> Judged:
    known = [row for row in rows if not math.isnan(row.value)]
    said = [verdict for row in known for verdict in row.verdicts]
    rate = average(values_of(known), seed, resamples)
    controlled, term, notes = length_controlled(known, seed, resamples)
    if rate.mean in (0.0, 1.0):  # length has nothing to explain
        controlled = rate
    both = [row for row in known if len(row.verdicts) == 2]
    return Judged(
        lang=lang,
        prompts=len({row.id for row in known}),
        answers=len({(row.id, row.lang, row.answer) for row in known}),
        comparisons=len(rows),
        wins=said.count("win"),
        ties=said.count("tie"),
        losses=said.count("loss"),
        unparseable=len(rows) - len(known),
        win_rate=rate,
        length_controlled=controlled,
        length_term=term,
        language_adjusted=average(values_of(known, _adjusted), seed, resamples),
        flip_rate=_share(len(set(row.verdicts)) > 1 for row in both),
        reversal_rate=_share(set(row.verdicts) == {"win", "loss"} for row in both),
        first_wins=_first_wins(both),
        needed=prompts_needed(values_of(known)),
        language_unknown=sum(row.in_language is None for row in known),
        cannot_tell=sum(None in (row.in_language or ()) for row in known),
        notes=[*_statements(rows, known), *notes],
        missing=_missing(rows),
        **_by_language(known, seed, resamples),
    )


def _by_language(known: list[Comparison], seed: int, resamples: int) -> dict[str, Any]:
    """What the answers' languages have to do with the win rate."""
    own = [row for row in known if row.in_own_language == 1.0]

    def rate(of: Callable[[Comparison], float]) -> Interval:
        return average(values_of(known, of), seed, resamples)

    return {
        "in_language": rate(lambda row: row.value_in_own_language),
        "in_language_share": rate(lambda row: row.in_own_language),
        "in_language_prompts": len({row.id for row in own}),
        "in_language_answers": len({(row.id, row.lang, row.answer) for row in own}),
        "language_alone": rate(lambda row: row.value_of_language),
    }


def _missing(rows: Sequence[Comparison]) -> dict[str, int]:
    """How many judgments are missing, by reason."""
    return dict(Counter(reason for row in rows for reason in row.reasons if reason).most_common())


#: Language -> prompt -> the values of its comparisons.
Values = Mapping[str, Mapping[str, Sequence[float]]]


def _value(row: Comparison) -> float:
    return row.value


def _adjusted(row: Comparison) -> float:
    return NAN if row.in_language is None else row.adjusted


def values_of(rows: Sequence[Comparison], of: Callable[[Comparison], float] = _value) -> Values:
    """The values of comparisons by language and prompt, those without one left out."""
    found: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        value = of(row)
        if not math.isnan(value):
            found[row.lang][row.id].append(value)
    return found


def _statements(rows: list[Comparison], known: list[Comparison]) -> list[str]:
    if not rows:
        return ["nothing was judged: there is no figure"]
    if not known:
        said = f"the judge gave no verdict in its format on any of {len(rows)} comparisons"
        return [said, *_why(rows)]
    notes = []
    if len(known) < len(rows):
        missing = len(rows) - len(known)
        notes.append(f"{missing} of {len(rows)} comparisons lack a verdict and stand in no rate")
        notes += _why(rows)
    if nameless := sum(row.in_language is None for row in known):
        notes.append(
            f"the languages of {nameless} of {len(known)} comparisons are not known: they stand in no"
            " language-adjusted rate"
        )
    told = {row.lang for row in known if row.in_language is not None}
    if lacking := sorted(told - {row.lang for row in known if row.in_own_language == 1.0}):
        notes.append(
            f"no comparison in {', '.join(lacking)} has both answers in the prompt's language: no rate"
            " among such comparisons is over it"
        )
    if {verdict for row in known for verdict in row.verdicts} == {"tie"}:
        notes.append("every verdict is a tie")
    if len({row.id for row in known}) == 1:
        notes.append("there is one prompt only, so there are no intervals")
    elif alone := [lang for lang, own in values_of(known).items() if len(own) == 1]:
        notes.append(f"there is no interval, since there is one prompt only in {', '.join(alone)}")
    return notes


def _why(rows: Sequence[Comparison]) -> list[str]:
    """The reasons of missing verdicts, and how to ask for them again."""
    found = _missing(rows)
    if not found:
        return []
    said = ", ".join(f"{reason}: {count}" for reason, count in found.items())
    return [
        f"judgments without a verdict, by reason: {said}; croco compare --ask-again 3, or a higher"
        " evaluate.judge.prompt.retries, asks for these alone again"
    ]


def length_controlled(
    rows: Sequence[Comparison], seed: int, resamples: int = RESAMPLES
) -> tuple[Interval, float, list[str]]:
    """The win rate at equal lengths, averaged over languages, the length's term, and statements.

    Per language, the comparison's value is regressed on tanh of the length difference (tuned less base,
    in standard deviations of that language): the rate is the sigmoid of the constant. A prompt is
    resampled with all its comparisons in all languages; each resample's fit is one Newton step away
    from the whole one, with the resample's own slope and curvature.
    """
    if not rows:
        return Interval(NAN, NAN, NAN), NAN, []
    clusters = {id: k for k, id in enumerate(sorted({row.id for row in rows}))}
    languages = sorted({row.lang for row in rows})
    own = {lang: [row for row in rows if row.lang == lang] for lang in languages}
    fits = [_fit(some, clusters) for some in own.values()]
    notes = _length_notes(own)
    term = _mean([float(fit.terms[1]) for fit in fits])
    if any(map(_told_by_length, own.values())):
        return Interval(NAN, NAN, NAN), NAN, notes
    interval = resampled(
        lambda drawn: np.asarray(np.mean([fit.rates(drawn) for fit in fits], axis=0)),
        len(clusters),
        seed,
        resamples,
    )
    wide = outer(interval, students(np.column_stack([fit.parts() for fit in fits])))
    return (
        Interval(interval.mean, np.maximum(wide.low, 0.0), np.minimum(wide.high, 1.0)),
        term,
        notes,
    )


def _length_notes(languages: Mapping[str, Sequence[Comparison]]) -> list[str]:
    """What length differences do not allow to say, and in which of several languages."""
    notes = []
    for statement, holds in ((NO_TERM, _all_alike), (ALL_TOLD, _told_by_length)):
        found = [lang for lang, rows in languages.items() if holds(rows)]
        where = f" ({', '.join(found)})" if len(languages) > 1 else ""
        notes += [f"{statement}{where}"] if found else []
    return notes


def _all_alike(rows: Sequence[Comparison]) -> bool:
    return len({row.lengths[1] - row.lengths[0] for row in rows}) < 2


def _told_by_length(rows: Sequence[Comparison]) -> bool:
    """Whether all wins are longer than all losses, or the other way round: then no fit is the best."""
    gaps: dict[float, list[int]] = {}
    for row in rows:
        gaps.setdefault(row.value, []).append(row.lengths[1] - row.lengths[0])
    if gaps.keys() != {0.0, 1.0}:
        return False
    return max(gaps[0.0]) < min(gaps[1.0]) or max(gaps[1.0]) < min(gaps[0.0])


@dataclass(frozen=True, slots=True)
class _Fit:
    """A language's fit, which clusters it has, and per cluster what a Newton step needs: slope (2) and
    curvature (3)."""

    terms: Floats
    own: Bools
    slopes: Floats
    bends: Floats

    def rates(self, weights: Floats) -> Floats:
        """The rate of each resample (rows of weights); NaN where none of its clusters was drawn."""
        slope = weights @ self.slopes - length.RIDGE * self.terms
        first, cross, second = (weights @ self.bends).T
        first, second = first + length.RIDGE, second + length.RIDGE
        drawn = first > 2 * length.RIDGE
        step = (second * slope[:, 0] - cross * slope[:, 1]) / (first * second - cross**2)
        # Far from the whole fit a step says little but the direction: it ends where the rate is 0 or 1.
        rates = length.sigmoid(self.terms[0] + np.clip(step, -8.0, 8.0))
        return np.where(drawn, rates, NAN)

    def parts(self) -> Floats:
        """Per cluster the rate that it alone pulls to, whose mean is the rate; NaN where there is none."""
        rate = length.sigmoid(self.terms[0])
        slope = self.slopes - length.RIDGE * self.terms / self.own.sum()
        first, cross, second = self.bends.sum(axis=0)
        first, second = first + length.RIDGE, second + length.RIDGE
        step = (second * slope[:, 0] - cross * slope[:, 1]) / (first * second - cross**2)
        return np.where(self.own, rate + rate * (1 - rate) * self.own.sum() * step, NAN)


def _fit(rows: Sequence[Comparison], clusters: Mapping[str, int]) -> _Fit:
    """A language's fit, each prompt weighing one."""
    values = np.array([row.value for row in rows])
    gaps = np.array([row.lengths[1] - row.lengths[0] for row in rows], dtype=np.float64)
    places = np.array([clusters[row.id] for row in rows])
    weights = 1.0 / np.bincount(places, minlength=len(clusters))[places]
    found = length.standardised(gaps)
    terms = np.zeros(len(rows)) if found is None else found
    fit = length.length_fit(values, terms, weights)
    shares = length.sigmoid(fit[0] + fit[1] * terms)
    slope, bend = weights * (values - shares), weights * shares * (1 - shares)
    size = len(clusters)
    slopes = [np.bincount(places, slope * part, size) for part in (1.0, terms)]
    bends = [np.bincount(places, bend * part, size) for part in (1.0, terms, terms**2)]
    own = np.bincount(places, minlength=size) > 0
    return _Fit(fit, own, np.column_stack(slopes), np.column_stack(bends))


def prompts_needed(
    values: Values, points: Sequence[int] = (2, 5, 10), power: float = 0.8
) -> dict[int, int]:
    """How many prompts show a win rate so many points from one half, at 5 %, with this power.

    n = ((z(0.975) + z(power)) * s / d)^2, with s the deviation between prompts of their part in the
    average over languages. Empty where there are fewer than two prompts, or all are alike.
    """
    from scipy.special import ndtri

    by_prompt: defaultdict[str, list[float]] = defaultdict(list)
    for own in values.values():
        for id, row in own.items():
            by_prompt[id].append(_mean(row))
    spread = np.std([_mean(row) for row in by_prompt.values()], ddof=1) if len(by_prompt) > 1 else 0
    if not spread > 1e-9:  # values lie between 0 and 1: less is rounding
        return {}
    reach = float(ndtri(0.975) + ndtri(power)) * float(spread)
    return {point: math.ceil((reach / (point / 100)) ** 2) for point in points}


def _first_wins(rows: Sequence[Comparison]) -> float | None:
    """The share of decided judgments that the answer shown first won; base is first in the first one."""
    won = [
        (verdict == "loss") if order == 0 else (verdict == "win")
        for row in rows
        for order, verdict in enumerate(row.verdicts)
        if verdict != "tie"
    ]
    return _share(won)


def _share(flags: object) -> float | None:
    found = list(flags)  # type: ignore[call-overload]
    return sum(found) / len(found) if found else None


def _mean(values: Sequence[float]) -> float:
    return float(sum(values) / len(values)) if len(values) else NAN
