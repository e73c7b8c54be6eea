"""Verdicts and answers to figures: tuned against base.

Every figure is per language and, as language "mul", the average over languages that were trained, with
another one for those that were not; its interval is of the difference, prompts being clusters
(see `croco.stats`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from croco import stats
from croco.comparing import Comparison, Judged, Unmet, is_trained, scopes
from croco.records import (
    MULTIPLE,
    UNTRAINED,
    Key,
    Languages,
    Metric,
    Responses,
    Verdicts,
)
from croco.spoken import right
from croco.words import words

#: The values of one prompt, base's and tuned's, one per answer; NaN where an answer has none.
Sides = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Answered:
    """A policy's answers to held-out prompts, and the languages they are in."""

    responses: Mapping[Key, Responses]
    languages: Mapping[Key, Languages]

    def in_language(self, key: Key) -> list[bool | None]:
        """Whether each answer is in its prompt's language, None where that cannot be told; nothing where
        nobody identified it."""
        row = self.languages.get(key)
        return [right(one, key[1]) for one in row.languages] if row else []


def comparisons(verdicts: Iterable[Verdicts], base: Answered, tuned: Answered) -> list[Comparison]:
    """What was judged, with the lengths and languages of the answers."""
    return [one for row in verdicts for one in _comparisons(row, base, tuned)]


def _comparisons(row: Verdicts, base: Answered, tuned: Answered) -> Iterator[Comparison]:
    texts = base.responses[row.key].texts, tuned.responses[row.key].texts
    in_language = base.in_language(row.key), tuned.in_language(row.key)
    for place, (one, other, said) in enumerate(zip(row.base, row.tuned, row.verdicts, strict=True)):
        lengths = len(texts[0][one]), len(texts[1][other])
        spoken = None
        if all(in_language):
            spoken = in_language[0][one], in_language[1][other]
        reasons = tuple(row.reasons[place]) if row.reasons else ()
        yield Comparison(row.id, row.lang, said, lengths, spoken, other, reasons)


def unmet(verdicts: Iterable[Verdicts], base: Answered, tuned: Answered) -> dict[str, Unmet]:
    """By language, how many answers of base and of tuned no answer of the other side was compared with."""
    found: dict[str, Unmet] = {}
    for row in verdicts:
        counts = found.get(row.lang, (0, 0))
        sides = ((base, row.base), (tuned, row.tuned))
        alone = [len(side.responses[row.key].texts) - len(set(met)) for side, met in sides]
        found[row.lang] = (counts[0] + alone[0], counts[1] + alone[1])
    return found


def compare(
    arm: str,
    judged: Mapping[str, Judged],
    base: Answered,
    tuned: Answered,
    seed: int,
    trained: Collection[str] | None = None,
    asked: Collection[str] = (),
) -> list[Metric]:
    """The arm's metrics by `scopes`: languages in sorted order, and averages; None: all were `trained`.

    One that has no value in a language, or in any, is left out there; an average says over which
    languages it is, and which of those that were `asked` for it lacks.
    """
    found = [row for name, rate in RATES.items() for row in _rates(arm, name, rate, judged)]
    both = base.responses.keys() & tuned.responses.keys()
    rows = [side.responses[key] for side in (base, tuned) for key in both]
    reasons = any(own for row in rows for own in row.whole)
    wanted = {name: of for name, of in METRICS.items() if reasons or name not in OF_REASONING}
    for name, values in wanted.items():
        sides = {key: (values(base, key), values(tuned, key)) for key in both}
        known = {key: pair for key, pair in sides.items() if all(map(_any_known, pair))}
        for lang, own in scopes({key[1] for key in known}, trained).items():
            chosen = {key: pair for key, pair in known.items() if key[1] in own}
            metric = _metric(arm, lang, name, chosen, tuned.responses, seed)
            found.append(replace(metric, languages=own if lang in AVERAGES else []))
    every = scopes({*asked} | {row.lang for row in found} - {*AVERAGES}, trained)
    marked = {MULTIPLE: True, UNTRAINED: False}
    return [
        replace(
            row,
            trained=marked.get(row.lang, is_trained(row.lang, trained)),
            lacking=[one for one in every[row.lang] if one not in row.languages]
            if row.lang in AVERAGES
            else [],
        )
        for row in found
    ]


#: The languages of averages.
AVERAGES = (MULTIPLE, UNTRAINED)
#: The judged rates, by the metric's name; the base's is one half.
RATES = {
    "win_rate": "win_rate",
    "win_rate_in_language": "in_language",
    "win_rate_language_alone": "language_alone",
    "win_rate_length_controlled": "length_controlled",
    "win_rate_language_adjusted": "language_adjusted",
}


def _rates(arm: str, name: str, rate: str, judged: Mapping[str, Judged]) -> Iterator[Metric]:
    for lang, own in judged.items():
        found: stats.Interval = getattr(own, rate)
        if math.isfinite(found.mean):
            ci = [found.low - 0.5, found.high - 0.5]
            delta = found.mean - 0.5
            among = rate == "in_language"
            n = own.in_language_answers if among else own.answers
            prompts = own.in_language_prompts if among else own.prompts
            metric = Metric(arm, lang, name, 0.5, found.mean, delta, ci, n, prompts)
            over = [one for one in own.languages if math.isfinite(getattr(judged[one], rate).mean)]
            yield replace(metric, languages=over if lang in AVERAGES else [])


def _metric(
    arm: str,
    lang: str,
    name: str,
    known: Mapping[Key, Sides],
    answers: Mapping[Key, Responses],
    seed: int,
) -> Metric:
    """One figure; `n` counts the tuned answers to the prompts that have a value on both sides."""
    before, after = _by_language(known, 0), _by_language(known, 1)
    found = stats.average_difference(before, after, seed)
    return Metric(
        arm=arm,
        lang=lang,
        metric=name,
        base=found.base,
        tuned=found.tuned,
        delta=found.delta.mean,
        ci=[found.delta.low, found.delta.high],
        n=sum(len(answers[key].texts) for key in known),
        prompts=found.clusters,
    )


def _any_known(values: Sequence[float]) -> bool:
    return not all(math.isnan(value) for value in values)


def _by_language(sides: Mapping[Key, Sides], which: int) -> dict[str, dict[str, Sequence[float]]]:
    table: dict[str, dict[str, Sequence[float]]] = {}
    for (prompt, lang), pair in sides.items():
        table.setdefault(lang, {})[prompt] = pair[which]
    return table


def _fidelity(side: Answered, key: Key) -> list[float]:
    return _known(side.in_language(key))


def _second_fidelity(side: Answered, key: Key) -> list[float]:
    row = side.languages.get(key)
    return _known([right(one, key[1]) for one in row.second] if row else [])


def _known(found: Sequence[bool | None]) -> list[float]:
    return [math.nan if one is None else float(one) for one in found]


def _line_pass(side: Answered, key: Key) -> list[float]:
    """1.0 where all lines of an answer pass; NaN where it has none that is long enough."""
    row = side.languages.get(key)
    return [math.nan if one is None else float(one == 1.0) for one in row.lines] if row else []


def _word_pass(side: Answered, key: Key) -> list[float]:
    row = side.languages.get(key)
    return [math.nan if one is None else one for one in row.words] if row else []


def _length(side: Answered, key: Key) -> list[float]:
    """The tokens of each answer, its reasoning aside."""
    row = side.responses[key]
    reasoning = row.reasoning_tokens or [0] * len(row.token_ids)
    return [len(ids) - own for ids, own in zip(row.token_ids, reasoning, strict=True)]


def _distinct(side: Answered, key: Key) -> list[float]:
    return [stats.distinct_n(words(text), 2) for text in side.responses[key].texts]


def _finished(side: Answered, key: Key) -> list[float]:
    return [float(reason == "stop") for reason in side.responses[key].finish_reasons]


def _reasoned(side: Answered, key: Key) -> list[float]:
    row = side.responses[key]
    return [float(bool(own)) for own in row.whole] or [0.0] * len(row.texts)


def _answered(side: Answered, key: Key) -> list[float]:
    """1.0 where something stands outside the reasoning."""
    return [float(bool(text.strip())) for text in side.responses[key].texts]


#: What is measured on each side alone: one value per answer, none where nothing is known of the prompt.
METRICS: dict[str, Callable[[Answered, Key], list[float]]] = {
    "language_fidelity": _fidelity,
    "second_fidelity": _second_fidelity,
    "line_pass_rate": _line_pass,
    "word_pass_rate": _word_pass,
    "mean_length": _length,
    "distinct_2": _distinct,
    "finished": _finished,
    "reasoned": _reasoned,
    "answered": _answered,
}
#: What is told only where some answer has reasoning.
OF_REASONING = ("reasoned", "answered")
