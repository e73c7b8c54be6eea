"""How likely a policy finds a text; a stage knows only the protocol and `load`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from croco.keeping import keep
from croco.models import ModelRef
from croco.plugins import load_class
from croco.settings import Dtype, Resources

LIKELIHOODS = {
    "fake": "croco.likelihood.fake:FakeLikelihood",
    "transformers": "croco.likelihood.transformers:TransformersLikelihood",
}


@dataclass(frozen=True, slots=True)
class Surprise:
    """A text's negative log-likelihood in nats, of so many tokens that stand for so many bytes of UTF-8.

    All of the text is predicted: before it stands the BOS, or, where the model has none, what documents
    ended with in pretraining.
    """

    nats: float
    tokens: int
    bytes: int


class Likelihood(Protocol):
    """Reads texts; built as `Likelihood(policy, dtype, resources, adapter)`."""

    def measure(self, texts: Sequence[str]) -> list[Surprise]:
        """One per text, in order; EngineError where one of them cannot be read."""
        ...


def name_for(engine: str) -> str:
    """Which one reads the texts of a policy that `engine` samples from."""
    return engine if engine == "fake" else "transformers"


@keep
def load(
    name: str, policy: ModelRef, dtype: Dtype, resources: Resources, adapter: Path | None = None
) -> Likelihood:
    """The one of that name with its model ready, and the adapter of a directory put on."""
    made: Likelihood = load_class(name, LIKELIHOODS, "likelihood")(
        policy, dtype, resources, adapter
    )
    return made
