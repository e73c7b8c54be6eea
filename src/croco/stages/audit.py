"""Audit: what the reward gives to both answers of known pairs, on pairs it never saw."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from croco import rewards
from croco.datafiles import FileRef, read_preferences
from croco.errors import DataError, StopError
from croco.languages import LanguageIdentifier, load_identifier
from croco.reasoning import answer_of
from croco.records import Audited, Candidate, Failure, Preference
from croco.reward_settings import RewardConfig
from croco.rewards import Scorer
from croco.seen import COUNTS, unseen_by
from croco.settings import Section
from croco.spoken import hear
from croco.stage import Context, Progress

#: Pairs scored at a time.
BATCH = 64


class Config(Section):
    """The reward, digests of the user's code, the preference files, and the identifier."""

    reward: RewardConfig
    code: dict[str, str]
    files: list[FileRef]
    identifier: str

    def check(self) -> None:
        """DataError where a file has a bad line, RecipeError where a template cannot be used."""
        read_preferences(self.files)
        rewards.check(self.reward)


def audit(config: Config, context: Context) -> list[Audited]:
    """All pairs that the reward was not trained on, with their rewards; the others are counted in a file.

    DataError names the first pair that cannot be scored.
    """
    trained = context.inputs["reward"].files if "reward" in context.inputs else None
    given = unseen_by(config.reward, trained, read_preferences(config.files))
    text = json.dumps(given.figures | {"sentence": given.sentence}, indent=1)
    (context.files / COUNTS).write_text(text + "\n", encoding="utf-8")
    pairs = given.kept
    if not pairs:
        return []
    scorer = rewards.load(config.reward, context.resources, trained)
    identifier = load_identifier(config.identifier)
    judged, failed = judge_pairs(pairs, scorer, identifier, context.progress)
    if failed:
        one = failed[0]
        raise DataError(
            f"audit: pair {one.id!r} ({one.lang}) cannot be scored ({one.error}): mend or remove it"
        )
    return judged


def judge_pairs(
    pairs: Sequence[Preference],
    scorer: Scorer,
    identifier: LanguageIdentifier,
    progress: Progress,
) -> tuple[list[Audited], list[Failure]]:
    """The pairs as the reward and the identifier see them, and those that could not be scored."""
    judged: list[Audited] = []
    failed: list[Failure] = []
    for start in range(0, len(pairs), BATCH):
        for outcome in _outcomes(pairs[start : start + BATCH], scorer, identifier):
            (judged if isinstance(outcome, Audited) else failed).append(outcome)  # type: ignore[arg-type]
        progress(min(start + BATCH, len(pairs)), len(pairs), "pairs")
    return judged, failed


def _outcomes(
    pairs: Sequence[Preference], scorer: Scorer, identifier: LanguageIdentifier
) -> list[Audited | Failure]:
    try:
        return list(_judge(pairs, scorer, identifier))
    except StopError:
        raise
    except Exception as error:
        if len(pairs) == 1:
            return [Failure.of(pairs[0].key, error)]
        # By halves, so that the pair at fault alone is lost and named.
        half = len(pairs) // 2
        halves = pairs[:half], pairs[half:]
        return [one for part in halves for one in _outcomes(part, scorer, identifier)]


def _judge(
    pairs: Sequence[Preference], scorer: Scorer, identifier: LanguageIdentifier
) -> list[Audited]:
    """Both answers of a pair are scored together: they share their prompt. Reasoning is no answer."""
    texts = [answer_of(text) for row in pairs for text in (row.chosen, row.rejected)]
    asked = [row for row in pairs for _ in range(2)]
    candidates = [
        Candidate(row.lang, row.prompt, text, row.before)
        for row, text in zip(asked, texts, strict=True)
    ]
    scores = scorer.score(candidates)
    found = scores.rewards
    taken: list[float | None] = [*scores.taken] or [None] * len(candidates)
    if len(found) != len(candidates) or not all(map(math.isfinite, found)):
        raise ValueError(
            f"the reward gave {len(found)} numbers for {len(candidates)} answers, or one is not finite"
        )
    spoken = [one.right for one in hear(texts, [row.lang for row in asked], identifier)]
    return [
        Audited(
            row.id,
            row.lang,
            row.flaw,
            chosen=found[2 * k],
            rejected=found[2 * k + 1],
            chosen_length=len(texts[2 * k]),
            rejected_length=len(texts[2 * k + 1]),
            chosen_in_language=spoken[2 * k],
            rejected_in_language=spoken[2 * k + 1],
            chosen_taken=taken[2 * k],
            rejected_taken=taken[2 * k + 1],
        )
        for k, row in enumerate(pairs)
    ]
