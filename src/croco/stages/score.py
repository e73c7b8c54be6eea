"""Scoring: a reward for every answer of every prompt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from croco import rewards
from croco.datafiles import FileRef, read_preferences
from croco.errors import StopError
from croco.records import Candidate, Failure, Step
from croco.reward_settings import RewardConfig, RewardTraining
from croco.rewards import Scorer
from croco.settings import Section
from croco.stage import Batch, Context, Item, Outcome
from croco.stages.suspicious import Seen


class Config(Section):
    """The reward, bound to its models, and digests of the user's code in it."""

    reward: RewardConfig
    code: dict[str, str]

    def check(self) -> None:
        """RecipeError where a template of the reward cannot be used."""
        rewards.check(self.reward)


class TrainingConfig(Section):
    """The reward model's training, bound to its base, and its files by content."""

    train: RewardTraining
    files: list[FileRef]

    def check(self) -> None:
        """DataError where a file has a bad line."""
        read_preferences(self.files)


def train_reward(config: TrainingConfig, context: Context) -> list[Step]:
    """A reward model trained on preference files; its directory is the stage's files."""
    from croco.training.reward import train_reward as train

    return train(
        config.train,
        read_preferences(config.files),
        context.files,
        context.resources,
        context.progress,
        context.work,
    )


def score(config: Config, context: Context, batches: Iterable[Batch]) -> Iterator[list[Outcome]]:
    """One `Rewards` row per `Responses` row, in its order.

    A row that cannot be scored, or not with finite numbers, is a Failure; the others are kept.
    """
    trained = context.inputs["reward"].files if "reward" in context.inputs else None
    scorer: Scorer | None = None
    seen = Seen(config.reward, context.inputs["sample"].shards)
    for batch in batches:
        scorer = scorer or rewards.load(config.reward, context.resources, trained)
        outcomes = _score_batch(scorer, batch)
        seen.add(outcomes)
        yield outcomes
    seen.end()


def _score_batch(scorer: Scorer, batch: Batch) -> list[Outcome]:
    candidates = [candidates_of(item) for item in batch]
    try:
        scores = scorer.score([one for row in candidates for one in row])
        return list(scores.rows([(i.key, len(c)) for i, c in zip(batch, candidates, strict=True)]))
    except StopError:
        raise
    except Exception as error:
        if len(batch) == 1:
            return [Failure.of(batch[0].key, error)]
        # Some row of the batch is at fault: scored one by one, it alone is left owed.
        return [outcome for item in batch for outcome in _score_batch(scorer, [item])]


def candidates_of(item: Item, input: str = "sample") -> list[Candidate]:
    """An item's answers as candidates for a scorer."""
    prompt = item.rows["prompts"]
    return [
        Candidate(prompt.lang, prompt.prompt, text, prompt.before)
        for text in item.rows[input].texts
    ]
