"""What the doctor's figures mean, in words, and what to do: one `Verdict` per question and language.

The thresholds are ours: where a figure passes `look` it deserves a look, where it passes `bad` the pairs
teach something else than quality, or too little of it. Of fewer than 30 pairs (or pools, where a figure is
theirs) nothing is said, but where no pool at all gives one. A remedy is in the words of where the user
stands, and never to undo a setting that differs from its default, which was set on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from croco.pairing.doctor import FEW, OVERALL
from croco.pairing.reasons import Words
from croco.recipe import PairConfig

Level = Literal["good", "look", "bad", "few"]
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One finding: how bad, where (a language or `overall`), what, and what to do about it."""

    level: Level
    lang: str
    finding: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Question:
    """A figure with its thresholds, and the words for it.

    `of` is what there must be 30 of. Where `setting` is not at its default the remedy is `otherwise`.
    """

    figure: Callable[[Figures], float | None]
    look: float
    bad: float
    finding: str
    remedy: str
    of: Literal["pairs", "pools"] = "pairs"
    setting: str = ""
    otherwise: str = ""


#: Strategies of which `target_below_minimum` says something.
BELOW = "mean-2std"
QUESTIONS = (
    Question(
        lambda f: f.get("target_below_minimum"),
        0.25,
        0.5,
        "mean - 2 std lies below the minimum in {:.0%} of the pools: there mean-2std is no more than min",
        "{more}",
        "pools",
    ),
    Question(
        lambda f: _bound(f.get("longer_is_chosen"), upper=False),
        0.6,
        0.7,
        "the longer side is chosen in at least {:.0%} of the pairs: the pairs teach length",
        "set {max_length_ratio}, or use a reward that does not pay for length",
        setting="filters.max_length_ratio",
        otherwise="use a reward that does not pay for length",
    ),
    Question(
        lambda f: 1 - _or_one(_bound(f.get("longer_is_chosen"), upper=True)),
        0.6,
        0.7,
        "the shorter side is chosen in at least {:.0%} of the pairs: the pairs teach brevity",
        "set {max_length_ratio}, or use a reward that does not punish length",
        setting="filters.max_length_ratio",
        otherwise="use a reward that does not punish length",
    ),
    Question(
        lambda f: f.get("only_rejected_in_language"),
        0.05,
        0.15,
        "in {:.0%} of the pairs rejected alone is in the prompt's language",
        "set {wrong_language}{to}only-as-rejected, or put a language gate on the reward",
        setting="filters.wrong_language",
        otherwise="put a language gate on the reward",
    ),
    Question(
        lambda f: f.get("only_chosen_in_language"),
        0.3,
        0.6,
        "in {:.0%} of the pairs chosen alone is in the prompt's language: they teach the language first",
        "that is right for a policy that answers in the wrong language; else set {wrong_language}{to}drop",
        setting="filters.wrong_language",
        otherwise="that is right for a policy that answers in the wrong language",
    ),
    Question(
        lambda f: f.get("prompt_not_in_chosens_language"),
        0.05,
        0.3,
        "{:.0%} of the pairs show the prompt in another language than chosen's: they teach to switch",
        "set {prompt_language}{to}chosen",
        setting="prompt_language",
        otherwise="that is what {prompt_language} asks for",
    ),
    Question(
        lambda f: f.get("tied_best"),
        0.1,
        0.3,
        "several texts share the highest reward in {:.0%} of the pools: chosen is one of them by rule",
        "score in float32 without rounding, or use a reward that does not saturate",
        "pools",
    ),
    Question(
        lambda f: f.get("repeats"),
        0.1,
        0.3,
        "{:.0%} of the responses repeat another one of their pool",
        "sample at a higher {temperature}, or with a higher top_p where it is below 1",
        "pools",
    ),
    Question(
        lambda f: f.get("chosen_cut_off"),
        0.001,
        0.05,
        "{:.0%} of the chosen responses were cut off by the token limit",
        "set {cut_off}{to}only-as-rejected, and {longer}",
        setting="filters.cut_off",
        otherwise="{longer}: by {cut_off} they may be chosen",
    ),
    Question(
        lambda f: f.get("cut_off"),
        0.2,
        0.5,
        "{:.0%} of the responses were cut off by the token limit",
        "{longer}: what is cut off can be compared but not learned from",
        "pools",
    ),
    Question(
        lambda f: f.get("empty"),
        0.02,
        0.1,
        "{:.0%} of the responses are empty",
        "look at the model's chat template and at {stop}",
        "pools",
    ),
    Question(
        lambda f: _share(f.get("special"), f.get("responses")),
        0.01,
        0.1,
        "{:.0%} of the responses have special tokens inside, so they stand in no pair",
        "look at what ends a turn in the model's chat template, or sample at a lower temperature",
    ),
    Question(
        lambda f: _share(f.get("without_pair"), f.get("pools")),
        0.05,
        0.2,
        "{:.0%} of the pools give no pair",
        "{no_pair}",
        "pools",
    ),
    Question(
        lambda f: None if f.get("pool_size") is None else 1 - f["pool_size"] / 32,
        0.5,
        0.75,
        "the pools are small: half of them hold no more than {n:.0f} responses",
        "{more}: the gap grows with n (see the table by n)",
        "pools",
    ),
)


def verdicts(diagnosis: dict[str, Any]) -> list[Verdict]:
    """What deserves a word, the worst first; a good word where nothing does.

    A language is named where it is worse than all languages together.
    """
    found = [one for lang in diagnosis["languages"] for one in _of(lang, diagnosis)]
    order = {"bad": 0, "look": 1, "few": 2}
    overall = {one.remedy: order[one.level] for one in found if one.lang == OVERALL}
    worse = [
        one
        for one in found
        if one.lang == OVERALL or order[one.level] < overall.get(one.remedy, len(order))
    ]
    worse += [*_supply(diagnosis), *_few(diagnosis)]
    worse.sort(key=lambda one: (order[one.level], one.lang != OVERALL, one.lang))
    return worse or [Verdict("good", OVERALL, "nothing stands out", "train on them")]


def _of(lang: str, diagnosis: dict[str, Any]) -> Iterator[Verdict]:
    figures, settings = diagnosis["languages"][lang], diagnosis["settings"]
    for number, question in enumerate(QUESTIONS):
        value = question.figure(figures)
        if value is None or value <= question.look or figures.get(question.of, 0) < FEW:
            continue
        if number == 0 and settings["rejected"] != BELOW:
            continue
        level: Level = "bad" if value > question.bad else "look"
        said = question.finding.format(value, n=figures.get("pool_size") or 0)
        yield Verdict(level, lang, said, _remedy(question, diagnosis))


def _remedy(question: Question, diagnosis: dict[str, Any]) -> str:
    """What to do, in the words of where the user stands, but for what was set on purpose."""
    names = Words(**diagnosis["place"]).names() | {
        "no_pair": diagnosis["no_pair"] or "look at the rewards"
    }
    given, default = diagnosis["settings"], PairConfig().model_dump(mode="json")
    for key in filter(None, question.setting.split(".")):
        given, default = given[key], default[key]
    on_purpose = bool(question.setting) and given != default
    return (question.otherwise if on_purpose else question.remedy).format(**names)


def _few(diagnosis: dict[str, Any]) -> Iterator[Verdict]:
    """That there are too few pairs for verdicts on them, or none, where that is so."""
    figures, why = diagnosis["languages"][OVERALL], diagnosis["no_pair"]
    pairs, pools = figures["pairs"], figures.get("pools", 0)
    if not pairs and pools:  # a fact, however few they are
        if pools < FEW:
            yield Verdict("bad", OVERALL, "100% of the pools give no pair", why)
    elif pairs < FEW:
        said = (
            f"{pairs} pair{'' if pairs == 1 else 's'} cannot tell: {FEW} are needed for a verdict"
        )
        yield Verdict("few", OVERALL, said, why or "take more prompts")


def _supply(diagnosis: dict[str, Any]) -> Iterator[Verdict]:
    """Languages that supply far more of the chosen, or of the rejected, than their share."""
    matrix = diagnosis["matrix"]
    total = sum(n for row in matrix.values() for n in row.values())
    langs = {lang for row in matrix.values() for lang in row} | set(matrix)
    if diagnosis["settings"]["scope"] != "multilingual" or len(langs) < 2 or total < FEW:
        return
    words = Words(**diagnosis["place"])
    for lang in sorted(langs):
        chosen = sum(matrix.get(lang, {}).values()) / total
        rejected = sum(row.get(lang, 0) for row in matrix.values()) / total
        for side, share in (("chosen", chosen), ("rejected", rejected)):
            if share > 1.5 / len(langs):
                level: Level = "bad" if share > 2.5 / len(langs) else "look"
                yield Verdict(
                    level,
                    lang,
                    f"{lang} supplies {share:.0%} of {side}, where an equal share is"
                    f" {1 / len(langs):.0%}",
                    words.say(
                        "rewards differ in level between languages: set {normalise}{to}zscore"
                    )
                    if diagnosis["settings"]["normalise"] == "none"
                    else "answers differ in quality between languages, or in spread of reward",
                )


def _bound(rule: dict[str, Any] | None, *, upper: bool) -> float | None:
    """A bound of a rule's interval; None where there are too few pairs for one."""
    return None if rule is None else rule["ci"][1 if upper else 0]


def _or_one(value: float | None) -> float:
    return 1.0 if value is None else value


def _share(part: int | None, whole: int | None) -> float | None:
    return part / whole if part is not None and whole else None
