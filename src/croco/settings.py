"""What the sections of a recipe are made of, and those that engines and rewards are built from.

A section says *what* is computed; only `Resources` says *where*, and never enters an identity.
Unknown keys are refused, so that no option is ever silently ignored.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from croco import models
from croco.datafiles import FileRef, refer
from croco.languages import checked_tag
from croco.models import ModelRef
from croco.reasoning import KNOWN, Markers

Language = Annotated[str, pydantic.AfterValidator(checked_tag)]
Share = Annotated[float, Field(ge=0, le=1)]
Dtype = Literal["float32", "bfloat16", "float16"]
Tracker = Literal["tensorboard", "trackio", "wandb", "mlflow"]


def _apart(markers: Any) -> Any:
    if any(one == other for one, other in markers or ()):
        raise ValueError("a marker that opens reasoning cannot close it too: give two texts")
    return markers


Marker = Annotated[str, Field(min_length=1)]
#: Pairs of texts that open and close reasoning; None: the well-known ones.
Reasoning = Annotated[list[tuple[Marker, Marker]] | None, pydantic.AfterValidator(_apart)]
#: What a chat template is given by its caller, who may not change it.
RESERVED = {"messages", "conversation", "add_generation_prompt", "tokenize", "return_dict"}
RESERVED |= {"tools", "documents", "chat_template", "continue_final_message"}


def _not_reserved(values: dict[str, Any]) -> dict[str, Any]:
    if taken := sorted(RESERVED & values.keys()):
        raise ValueError(f"{taken[0]!r} is CroCo's own to give: remove it")
    return values


#: Arguments of a model's chat template, such as `enable_thinking: false`.
TemplateArguments = Annotated[dict[str, Any], pydantic.AfterValidator(_not_reserved)]


def _refuse_unused(engine: str, extra: dict[str, Any] | None, arguments: dict[str, Any]) -> None:
    """ValueError where an engine would ignore a setting, or is given one twice."""
    if extra is not None and engine in ("fake", "fake-judge", "transformers", "vllm"):
        raise ValueError(f"extra is for servers and the engine {engine!r} has none: remove it")
    if arguments and engine in ("fake", "fake-judge"):
        raise ValueError(f"the engine {engine!r} has no chat template: remove chat_template_kwargs")
    if arguments and "chat_template_kwargs" in (extra or {}):
        raise ValueError("chat_template_kwargs is given twice: remove it from extra")


class Section(BaseModel):
    """A part of a recipe: frozen, and closed to keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def refuse_unused(section: BaseModel, names: Iterable[str], why: str) -> None:
    """ValueError for the first of some keys that says something else than its default, where `why`.

    A value that equals the default is let pass: a saved recipe names all of them.
    """
    fields = type(section).model_fields
    for name in names:
        if getattr(section, name) != fields[name].get_default(call_default_factory=True):
            raise ValueError(f"{name} {why}: remove it")


class Sampling(Section):
    """How answers are sampled. The default is the paper's: 64 samples at temperature 1."""

    engine: str = "transformers"
    n: int = Field(64, ge=1)
    temperature: float = Field(1.0, ge=0, description="0: greedy")
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(4096, ge=1)
    stop: list[Annotated[str, Field(min_length=1)]] = Field(
        [], description="texts that end an answer"
    )
    dtype: Dtype = "bfloat16"
    extra: dict[str, Any] | None = Field(
        None,
        description="more keys of a request to a server; none: those that turn off its own cuts",
    )
    chat_template_kwargs: TemplateArguments = Field(
        {}, description="arguments of the model's chat template, such as {enable_thinking: false}"
    )
    reasoning: Reasoning = Field(
        None,
        description="pairs of texts that open and close reasoning; none: the well-known ones, []: no text"
        " is reasoning",
    )

    @property
    def markers(self) -> Markers:
        """The texts that open and close reasoning."""
        return KNOWN if self.reasoning is None else self.reasoning

    @pydantic.model_validator(mode="after")
    def _for_servers(self) -> Sampling:
        _refuse_unused(self.engine, self.extra, self.chat_template_kwargs)
        if not self.temperature:
            refuse_unused(self, ["top_p"], "has no meaning where temperature is 0 (greedy)")
        return self


class Prompted(Section):
    """A model that answers a template's prompts: what translates and what judges.

    `template` is a file (see `templates`); the model of a server may be any name that it knows.
    """

    engine: str = "transformers"
    model: str
    template: str
    temperature: float = Field(0.0, ge=0)
    retry_temperature: float = Field(0.7, ge=0, description="where an answer cannot be used")
    retries: int = Field(
        1, ge=0, description="how often an answer that cannot be used is asked for again"
    )
    max_tokens: int = Field(1024, ge=1)
    dtype: Dtype = "bfloat16"
    extra: dict[str, Any] | None = Field(None, description="more keys of a request to a server")
    chat_template_kwargs: TemplateArguments = Field(
        {}, description="arguments of the model's chat template, such as {enable_thinking: false}"
    )
    reasoning: Reasoning = Field(
        None,
        description="pairs of texts that open and close reasoning; none: the well-known ones, []: no text"
        " is reasoning",
    )
    _ref: ModelRef | None = None
    _file: FileRef | None = None

    @pydantic.model_validator(mode="after")
    def _for_servers(self) -> Prompted:
        _refuse_unused(self.engine, self.extra, self.chat_template_kwargs)
        if self.engine == "openai":
            refuse_unused(self, ["dtype"], "is the server's own with the engine 'openai'")
        if not self.retries:
            refuse_unused(self, ["retry_temperature"], "has no meaning where retries is 0")
        return self

    def bound(self, folder: Path) -> Prompted:
        """A copy that knows its model and template; their revision and content stand for them."""
        ref = models.resolve(self.model, folder, served=self.engine == "openai")
        file = refer(self.template, folder)
        update = {"model": f"{ref.name}@{ref.revision}", "template": f"sha256:{file.sha256}"}
        copy = self.model_copy(update=update)
        copy._ref, copy._file = ref, file
        return copy

    @property
    def ref(self) -> ModelRef:
        """The model."""
        return self._ref or self.bound(Path()).ref

    @property
    def file(self) -> FileRef:
        """The template."""
        return self._file or self.bound(Path()).file

    @property
    def sampling(self) -> Sampling:
        """The engine's own settings."""
        return Sampling(
            engine=self.engine,
            n=1,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            dtype=self.dtype,
            extra=self.extra,
            chat_template_kwargs=self.chat_template_kwargs,
            reasoning=self.reasoning,
        )


class Checks(Section):
    """What a translation must pass; shares and ratios are of characters."""

    identifier: str = "py3langid"
    threshold: Share = Field(0.5, description="smallest share of the target language")
    min_length_ratio: float = Field(0.4, ge=0)
    max_length_ratio: float = Field(2.5, gt=0)
    max_unknown: Share = Field(
        0.1, description="largest share of words that the translator did not know"
    )


class Translate(Section):
    """English prompts, or others, to the recipe's languages; those that exist are kept as they are."""

    source: Language = "en"
    translator: str = "prompt"
    prompt: Prompted | None = None
    checks: Checks = Checks()

    def bound(self, folder: Path) -> Translate:
        """A copy that knows its model and template."""
        prompt = self.prompt.bound(folder) if self.prompt else None
        return self.model_copy(update={"prompt": prompt})

    @pydantic.model_validator(mode="after")
    def _prompted(self) -> Translate:
        if (self.translator == "prompt") != (self.prompt is not None):
            raise ValueError(
                "give prompt (engine, model, template) with the translator 'prompt', and only then"
            )
        if self.prompt and self.checks.max_unknown != Checks().max_unknown:
            raise ValueError(
                "checks.max_unknown is for translators that mark unknown words, and 'prompt' marks none:"
                " remove it"
            )
        return self


class Price(Section):
    """US dollars per million tokens."""

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)


class Server(Section):
    """A server that speaks OpenAI's protocol. Its key is read from the environment variable `key`."""

    url: str = Field(
        pattern=r"^https?://", description="with its path, such as http://localhost:8000/v1"
    )
    model: str | None = Field(
        None, description="the model's name there; none: the only one, or its own"
    )
    key: str = "OPENAI_API_KEY"
    concurrency: int = Field(32, ge=1, description="requests at a time")
    retries: int = Field(8, ge=0, description="of one request, with growing pauses")
    timeout: float = Field(600.0, gt=0, description="seconds for one request")
    price: Price | None = None


class Environment(Section):
    """Where EuroEval is: the folder of its own Python environment, made there if it is missing.

    `python` makes it, by default this one or the path's, whichever fits; data sets are kept in `cache`.
    """

    folder: str | None = None
    python: str | None = None
    cache: str | None = None


class Slurm(Section):
    """What is asked of SLURM; keys of a stage kind come before those of `executor.slurm`."""

    partition: str | None = None
    account: str | None = None
    time: str | None = Field(
        None,
        pattern=r"^[1-9]\d*[mhd]$",
        description="limit of one job, such as 90m, 24h or 2d; one that meets it goes on in the next",
    )
    setup: list[str] | None = Field(None, description="shell lines before a worker starts")
    container: str | None = Field(
        None, description="command before `python`, such as 'singularity exec --rocm image.sif'"
    )
    python: str | None = Field(None, description="the Python of the workers; none: this one")
    extra: dict[str, str | int | bool] | None = Field(
        None, description="more parameters of sbatch, such as {qos: long, constraint: h100}"
    )


class Resources(Section):
    """Where a stage runs: never part of an identity."""

    batch_size: int = Field(16, ge=1, description="rows handed to an engine at a time")
    device: str = "auto"
    threads: int | None = Field(None, ge=1)
    micro_batch: int = Field(8, ge=1, description="pairs per forward pass in training")
    gradient_checkpointing: bool = Field(
        False, description="less memory in training, for more time"
    )
    padding_free: bool = Field(False, description="SFT's micro batches as one row without padding")
    checkpoint_every: int = Field(50, ge=1, description="optimizer steps between checkpoints")
    processes: int = Field(1, ge=1, description="that train together, on each machine")
    accelerate: str | None = Field(
        None, description="an accelerate config file: FSDP, DeepSpeed, several machines"
    )
    trackers: list[Tracker] = Field([], description="where training is logged besides plain files")
    batch_tokens: int = Field(16384, ge=1, description="tokens per forward pass in scoring")
    tensor_parallel: int = Field(1, ge=1, description="devices that share one copy of the model")
    data_parallel: int = Field(1, ge=1, description="copies of the model")
    memory_share: float | None = Field(None, gt=0, le=1, description="of a GPU's memory, for vllm")
    max_sequences: int | None = Field(None, ge=1, description="answers that vllm decodes at a time")
    max_context: int | None = Field(None, ge=8, description="tokens of prompt and answer, for vllm")
    server: Server | None = None
    environment: Environment = Environment()
    workers: int = Field(
        1,
        ge=1,
        description="processes that take shards, each with its own model; in training: machines, each"
        " with `processes`",
    )
    gpus: int = Field(0, ge=0, description="per worker, on a cluster or of this machine's")
    cpus: int | None = Field(None, ge=1, description="per worker; none: the cluster's own choice")
    memory: str | None = Field(
        None, pattern=r"^\d+[MG]$", description="per worker, on a cluster, such as 64G"
    )
    custom: dict[str, float] = Field({}, description="per worker: custom resources of Ray")
    slurm: Slurm = Slurm()
