"""The recipe's section `evaluate.benchmark`: EuroEval on the untuned policy and on every arm."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from croco.settings import Language, Section

#: The one place where EuroEval is pinned: the last version before the paper's runs of April 2026
#: (arXiv 2605.26293). Beside it what its extra `generative` is for, as the paper's own requirements have
#: it; by the extra itself, pip tries versions for a long time.
EUROEVAL = "17.2.0"
PACKAGES = [
    f"euroeval=={EUROEVAL}",
    "vllm==0.19.0",
    "transformers==4.57.6",
    "huggingface-hub==0.36.2",
    "datasets==4.8.4",
    "bitsandbytes==0.49.2",
    "timm==1.0.26",
    "ray==2.53.0",
]
PINNED = re.compile(r"euroeval(?:\[[\w,-]+\])?==(\d[\w.]*)")
#: What the command line is built with; a recipe may not say it a second time.
OURS = ("--model", "--dataset", "--language", "--task", "--num-iterations", "--cache-dir")

DataSet = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]


class Benchmark(Section):
    """EuroEval's data sets by language, how often each is drawn, and the packages of its environment.

    Where `datasets` is not given it is the paper's, for those of the recipe's languages that have any.
    """

    datasets: dict[Language, Annotated[list[DataSet], Field(min_length=1)]] | None = None
    iterations: int = Field(3, ge=1, description="draws of each data set; the paper's are 3")
    split: Literal["test", "validation"] = "test"
    packages: list[str] = PACKAGES
    extra: list[str] = Field([], description="more arguments of EuroEval's command")

    @pydantic.field_validator("datasets")
    @classmethod
    def _once(cls, datasets: dict[str, list[str]] | None) -> dict[str, list[str]] | None:
        names = [name for own in (datasets or {}).values() for name in own]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the data set {twice[0]!r} is named twice: give it to one language")
        return datasets

    @pydantic.field_validator("packages")
    @classmethod
    def _pinned(cls, packages: list[str]) -> list[str]:
        if sum(bool(PINNED.fullmatch(one)) for one in packages) != 1:
            raise ValueError("packages must have one euroeval==VERSION, so that it stays the same")
        return packages

    @pydantic.field_validator("extra")
    @classmethod
    def _not_ours(cls, extra: list[str]) -> list[str]:
        for argument in extra:
            if argument.partition("=")[0] in OURS:
                raise ValueError(
                    f"{argument} has a key of its own or is CroCo's to give: remove it"
                )
        return extra


def version_of(packages: list[str]) -> str:
    """The pinned version of EuroEval among some packages."""
    return next(found[1] for one in packages if (found := PINNED.fullmatch(one)))
