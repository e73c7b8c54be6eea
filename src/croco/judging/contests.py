"""What a judge is asked, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from croco.records import Key, Prompt, Verdicts

#: What a template may ask for.
VALUES = {"prompt", "answer_a", "answer_b", "language", "lang", "conversation"}
#: A verdict on tuned against base; "none" where a judge's answer holds no verdict.
Verdict = Literal["win", "tie", "loss", "none"]


@dataclass(frozen=True, slots=True)
class Contest:
    """Base and tuned answers to one prompt, and the seed of the judge's answers to them.

    `earlier` is what the judge said when it was asked less often, where verdicts were missing then.
    """

    key: Key
    prompt: Prompt
    base: list[str]
    tuned: list[str]
    seed: int
    earlier: Verdicts | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a judge made of a contest, or the error that makes it a failure.

    `places` are the (base, tuned) answers of each comparison and `verdicts` what was said of them:
    with base shown first, then with tuned first, or once where a judge sees no order. `texts` are a
    model's own words, in the same order, and `reasons` say why a verdict is missing. `retried` counts
    how often verdicts were asked for again.
    """

    contest: Contest
    places: list[tuple[int, int]] = field(default_factory=list)
    verdicts: list[list[Verdict]] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)
    base_scores: list[float] = field(default_factory=list)
    tuned_scores: list[float] = field(default_factory=list)
    retried: int = 0
    error: Exception | None = None
    reasons: list[list[str]] = field(default_factory=list)
