"""Which languages to trust, in words: the first rule that holds gives a language its level.

The thresholds are ours. They ask of the pairs that were audited and of no others: a reward that knows
flaws from good answers may still know nothing of taste.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Figures = dict[str, Any]

#: Fewer prompts, or an interval of the accuracy that is wider from end to end, tell nothing.
FEW, WIDE = 30, 0.3
CHANCE = 0.5


@dataclass(frozen=True, slots=True)
class Rule:
    """A level of trust, when it holds, and why in words."""

    level: str
    holds: Callable[[Figures], bool]
    why: str


RULES = (
    Rule("too few pairs to tell", lambda f: not f["n"], "there are no pairs"),
    Rule(
        "too few pairs to tell",
        lambda f: f["prompts"] < FEW,
        f"fewer than {FEW} prompts tell nothing",
    ),
    Rule(
        "do not trust",
        lambda f: f["tied"] == f["n"],
        "every pair is a tie: the reward tells no answer from another",
    ),
    Rule(
        "too few pairs to tell",
        lambda f: bool(f["ci"][1] - f["ci"][0] > WIDE),
        "an interval of more than 15 points to each side tells nothing",
    ),
    Rule(
        "do not trust",
        lambda f: bool(f["ci"][1] < CHANCE),
        "it prefers the worse answer more often than a coin would",
    ),
    Rule("do not trust", lambda f: bool(f["ci"][0] <= CHANCE), "it may be no better than a coin"),
    Rule(
        "weak",
        lambda f: bool(f["over_longer_wins"]["ci"][0] <= 0),
        "it is better than a coin, and may be no better than the rule that the longer answer wins",
    ),
    Rule(
        "trust", lambda f: True, "it is better than a coin and than the rule that the longer wins"
    ),
)


@dataclass(frozen=True, slots=True)
class Remark:
    """A figure that deserves a word where its interval excludes 0, and the words."""

    figure: Callable[[Figures], dict[str, Any] | None]
    words: str


REMARKS = (
    Remark(
        lambda f: f["english"]["drift"],
        "on the same prompts its rewards lie {:+.2f} [{:+.2f}, {:+.2f}] English standard deviations from"
        " English's: normalise rewards before languages share a pool",
    ),
    Remark(
        lambda f: f["pools"]["drift"] if "pools" in f else None,
        "the run's own answers to the same prompts are rewarded {:+.2f} [{:+.2f}, {:+.2f}] English"
        " standard deviations from the English ones",
    ),
    Remark(
        lambda f: f["length_slope"],
        "an answer of twice the length is rewarded {:+.2f} [{:+.2f}, {:+.2f}] standard deviations more",
    ),
)


def trust(figures: Figures) -> dict[str, str]:
    """A language's `trust`, the level, and `reason`, one sentence with its figures."""
    rule = next(rule for rule in RULES if rule.holds(figures))
    return {"trust": rule.level, "reason": f"{_figures(figures)}{rule.why}"}


def remarks(figures: Figures) -> list[str]:
    """What else is to be known of the reward in a language, one sentence each."""
    said = []
    for remark in REMARKS:
        own = remark.figure(figures)
        if own and excludes_zero(own["ci"]):
            said.append(remark.words.format(own["value"], *own["ci"]))
    if untold := figures.get("cannot_tell"):
        said.append(
            f"{untold} of {figures['n']} pairs have an answer whose language cannot be told: they are ties"
            " for the rule that the answer in the language wins"
        )
    return said


def excludes_zero(ci: Sequence[float | None]) -> bool:
    """Whether an interval is known and lies wholly on one side of zero."""
    low, high = ci
    return low is not None and high is not None and (low > 0 or high < 0)


def _figures(figures: Figures) -> str:
    if not figures["n"]:
        return ""
    pairs = "pair" if figures["n"] == 1 else "pairs"
    said = f"right in {_share(figures['accuracy'], figures['ci'])} of {figures['n']} {pairs}"
    rule = f"the longer answer in {figures['longer_wins']:.0%}"
    return f"{said}, {rule}: "


def _share(value: float, ci: list[float | None]) -> str:
    low, high = ci
    return f"{value:.0%}" + ("" if low is None or high is None else f" [{low:.0%}, {high:.0%}]")
