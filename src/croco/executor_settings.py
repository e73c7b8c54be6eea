"""Which executor brings a run to its end, and where that is: never part of an identity."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from croco.settings import Section, Slurm

Kind = Literal["local", "slurm", "ray"]


class Ray(Section):
    """A Ray cluster: "auto" is the one that this machine belongs to, "local" one of its own."""

    address: str = "auto"


class ExecutorSettings(Section):
    """Where tasks run; what a kind of stage needs there stands under `resources`."""

    kind: Kind = "local"
    slurm: Slurm = Slurm()
    ray: Ray = Ray()
    attempts: int = Field(
        3, ge=1, description="how often a shard is begun whose worker died, before the run stops"
    )
