"""Preferences as a reward model reads them: the token ids that scoring makes, and what is left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from croco.errors import EngineError, RecipeError, StopError
from croco.reasoning import separate
from croco.records import Candidate, Preference
from croco.reward_settings import RewardTraining
from croco.rewards.encoding import Row, encode
from croco.texts import same_text

#: No length is refused where a pair is to be measured first.
ANY_LENGTH = 10**9
#: Pairs that an error names; the others are counted.
NAMED = 3


@dataclass(frozen=True, slots=True)
class Pair:
    """A preference's key in words, and the ids of its prompt with either answer."""

    name: str
    chosen: Row
    rejected: Row


def wanted(config: RewardTraining, preferences: Sequence[Preference]) -> list[Preference]:
    """The preferences of the recipe's languages, without the flaws left out.

    RecipeError where no preference has such a language or flaw, or none is left.
    """
    for what, names, known in (
        ("language", config.languages, {p.lang for p in preferences}),
        ("flaw", config.without, {p.flaw for p in preferences}),
    ):
        unknown = sorted(set(names) - known)
        if unknown and preferences:
            key = "languages" if what == "language" else "without"
            raise RecipeError(
                f"reward training: no preference has the {what} {unknown[0]!r} of `{key}`: remove it"
            )
    kept = [p for p in preferences if p.flaw not in config.without]
    kept = [p for p in kept if not config.languages or p.lang in config.languages]
    if not kept:
        raise RecipeError(
            "reward training: there are no preferences to train on: name files that have some in"
            " `files`, and look at `languages` and `without`"
        )
    return kept


def encoded(
    tokenizer: Any, preferences: Sequence[Preference], limit: int
) -> tuple[list[Pair], Counter[str]]:
    """The pairs in the ids that scoring would give their answers, and why how many are left out.

    Nothing is cut: of a pair with more than `limit` tokens the end, where the answers differ, would go.
    Raises EngineError where no pair is left.
    """
    pairs: list[Pair] = []
    left_out: Counter[str] = Counter()
    for one in preferences:
        try:
            pair = _encoded(tokenizer, one)
        except StopError:
            raise
        except EngineError as error:  # a chat template that knows no system prompt, say
            left_out[str(error)] += 1
            continue
        longest = max(len(pair.chosen["input_ids"]), len(pair.rejected["input_ids"]))
        if longest > limit:
            left_out[f"more than max_length, {limit} tokens"] += 1
        elif pair.chosen == pair.rejected:
            left_out["chosen and rejected are the same tokens"] += 1
        elif same_text(one.chosen) == same_text(one.rejected):
            left_out["chosen and rejected are the same text"] += 1
        else:
            pairs.append(pair)
    if not pairs:
        why, count = left_out.most_common(1)[0]
        raise EngineError(
            f"reward training: none of {len(preferences)} pairs can be trained on ({count}: {why})"
        )
    return pairs, left_out


def check_finite(margins: Sequence[float], pairs: Sequence[Pair], step: int) -> None:
    """EngineError that names the pairs of a step whose rewards are not finite."""
    bad = [p.name for p, margin in zip(pairs, margins, strict=True) if not math.isfinite(margin)]
    if bad:
        more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        raise EngineError(
            f"reward training diverged at step {step} (a reward is not finite) on pair"
            f" {', '.join(bad[:NAMED])}{more}: lower learning_rate, or leave out what is wrong there"
        )


def _encoded(tokenizer: Any, one: Preference) -> Pair:
    """A pair's ids; EngineError where reasoning does not end, so that there is no answer."""
    sides = [separate(text) for text in (one.chosen, one.rejected)]
    if not all(side.closed for side in sides):
        raise EngineError("an answer's reasoning does not end")
    chosen, rejected = (
        encode(tokenizer, Candidate(one.lang, one.prompt, side.answer, one.before), ANY_LENGTH)
        for side in sides
    )
    return Pair(f"{one.id!r} ({one.lang})", chosen, rejected)
