"""Online training: the policy is sampled, scored, paired and trained in one stage."""

from __future__ import annotations

from pydantic import Field

from croco import training
from croco.arm_settings import Online
from croco.models import ModelRef
from croco.recipe import PairConfig
from croco.records import Step
from croco.reward_settings import RewardConfig
from croco.settings import Resources, Sampling, Section
from croco.stage import Context
from croco.training import Job, OnlineJob, Place
from croco.training_settings import TrainConfig


class Config(Section):
    """The policy, how it is trained, sampled, scored and paired on the way, the seed, and the user's code.

    `sampled` and `scored` are where that is done, which is no part of the identity.
    """

    policy: ModelRef
    train: TrainConfig
    online: Online
    sampling: Sampling
    pair: PairConfig
    reward: RewardConfig
    seed: int
    code: dict[str, str]
    sampled: Resources = Field(Resources(), exclude=True)
    scored: Resources = Field(Resources(), exclude=True)


def online(config: Config, context: Context) -> list[Step]:
    """The training curve; what was sampled is kept among the stage's files.

    The input "prompts" is answered; "start" and "reward", where there are such, are the trainings of the
    policy to go on from and of the reward model.
    """
    inputs = context.inputs
    start, trained = (
        inputs[name].files if name in inputs else None for name in ("start", "reward")
    )
    job = OnlineJob(
        Job(config.train, config.policy, (), start=start, seed=config.seed),
        list(inputs["prompts"].rows()),
        config.online,
        config.sampling,
        config.pair,
        config.reward,
        trained,
        config.sampled,
        config.scored,
    )
    place = Place(context.files, context.work, context.resources, context.progress)
    return training.load_online(config.train.trainer)(job, place)
