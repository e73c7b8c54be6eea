"""What a training asks of its model: layers for LoRA, a precision, a schedule, a length."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from croco import packages
from croco.checks import described
from croco.checks.described import Head, UnknownError
from croco.checks.findings import Finding, Subject
from croco.checks.installed import is_elsewhere
from croco.models import ModelRef
from croco.stage import Stage
from croco.training_settings import TrainConfig

#: The layers that are named where no name is near, at most.
NAMED = 12


def check(subject: Subject) -> Iterator[Finding]:
    """What a model lacks for its training, each with the nearest right name."""
    if packages.absent(packages.MODEL):
        return  # said already
    for stage in subject.pending.values():
        own: Any = stage.config
        if stage.kind == "train" and own.train.trainer == "trl":
            where = f"arms.{stage.name.partition('.')[0]}.train"
            yield from _of_policy(subject, stage, where, own.policy, own.train)
        elif stage.kind == "reward":
            lora = own.train.lora
            if lora and lora.targets != "all-linear":
                head: Head = "AutoModelForSequenceClassification"
                yield from _targets(subject, "reward.train.lora", own.train.ref, lora.targets, head)


def _of_policy(
    subject: Subject, stage: Stage, where: str, policy: ModelRef, train: TrainConfig
) -> Iterator[Finding]:
    if policy.name == "fake":
        return
    if train.lora:
        head: Head = "AutoModelForCausalLM"
        yield from _targets(subject, f"{where}.lora", policy, train.lora.targets, head)
    yield from _schedule(where, train)
    yield from _precision(subject, stage, where, policy, train)


def _targets(
    subject: Subject, where: str, ref: ModelRef, targets: Sequence[str], head: Head
) -> Iterator[Finding]:
    """An error for every target that is no layer of the model, or its output layer."""
    try:
        layers = described.layers_of(ref, subject.quick, head)
    except UnknownError as error:
        yield Finding("warning", f"{where}.targets", f"{error}, so they were not checked")
        return
    output = "lm_head" in targets and head == "AutoModelForCausalLM"
    for target in dict.fromkeys(targets):
        matched = [name for name in layers if name == target or name.endswith(f".{target}")]
        if any(layers[name] for name in matched):
            continue
        if output and target == "lm_head":
            message = (
                "'lm_head' cannot be tuned: the loss reads its weights directly, and an adapter on it"
                f" would learn nothing: remove it, or take {_others(layers)}"
            )
        else:
            what = "no layer that LoRA can be put on" if matched else "no layer"
            message = f"model {_name(ref)} has {what} {target!r}: {_nearest(target, layers)}"
        yield Finding("error", f"{where}.targets", message)


def _nearest(target: str, layers: Mapping[str, bool]) -> str:
    """The nearest right name, or all of them."""
    known = _linear(layers)
    lowered = {name.lower(): name for name in known}
    near = difflib.get_close_matches(target.lower(), lowered, n=1)
    return f"did you mean {lowered[near[0]]!r}?" if near else f"take {_others(layers)}"


def _others(layers: Mapping[str, bool]) -> str:
    return f"some of {', '.join(_linear(layers)[:NAMED])}"


def _linear(layers: Mapping[str, bool]) -> list[str]:
    """The last parts of names of layers that LoRA can be put on, those inside of blocks first."""
    inner = [
        name for name, can in layers.items() if can and any(p.isdigit() for p in name.split("."))
    ]
    return list(dict.fromkeys(name.rpartition(".")[2] for name in inner))


#: Schedules of transformers that ask for more than a recipe says: a lowest rate, a decay, a metric.
ASKING = {
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "greedy",
    "reduce_lr_on_plateau",
    "warmup_stable_decay",
}


def _schedule(where: str, train: TrainConfig) -> Iterator[Finding]:
    from transformers import SchedulerType

    known = [one.value for one in SchedulerType if one.value not in ASKING]
    if train.schedule not in known:
        near = difflib.get_close_matches(train.schedule, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"take one of {', '.join(known)}"
        message = f"there is no schedule {train.schedule!r}: {hint}"
        yield Finding("error", f"{where}.schedule", message)


def _precision(
    subject: Subject, stage: Stage, where: str, policy: ModelRef, train: TrainConfig
) -> Iterator[Finding]:
    """What is wrong with dtype, for the model or for this machine."""
    import torch

    try:
        config = described.config_of(policy, subject.quick)
    except UnknownError:
        return  # said of the targets
    packed = getattr(config, "quantization_config", None)
    if packed is not None and (train.lora is None or train.quantized):
        what = "set lora" if train.lora is None else "remove lora.quantized"
        message = f"the weights of model {_name(policy)} are quantised already: {what}"
        yield Finding("error", where, message)
    stored = str(getattr(config.get_text_config(), "dtype", None) or config.dtype or "")
    if train.dtype == "float16" and "bfloat16" in stored:
        message = (
            f"model {_name(policy)} was made in bfloat16, and numbers of its size may not fit float16: take"
            " bfloat16"
        )
        yield Finding("warning", f"{where}.dtype", message)
    on_cpu = stage.resources.device == "cpu" or not torch.cuda.is_available()
    here = on_cpu and not is_elsewhere(subject.recipe, stage)
    if train.dtype == "float16" and not train.lora and here:
        message = "training all weights in float16 needs a GPU: take bfloat16 or float32"
        yield Finding("error", f"{where}.dtype", message, here=True)


def _name(ref: ModelRef) -> str:
    return repr(Path(ref.location).name if ref.location else ref.name)
