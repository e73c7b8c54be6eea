"""Models and adapters from their files, whole: a weight that the files lack would be a random one.

Transformers and PEFT make such weights anew and go on. Here they are named, and nothing is loaded. Only
who trains a reward model may ask for a new head.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from croco.errors import DataError
from croco.models import ADAPTER
from croco.quiet import quiet

#: Names that an error shows; more are counted.
SHOWN = 3


def causal(folder: Path, **options: Any) -> Any:
    """The causal language model in a directory; `options` are those of transformers' `from_pretrained`.

    Raises DataError where the files lack weights, hold ones of other shapes, or are an adapter's.
    """
    from transformers import AutoModelForCausalLM

    if (folder / ADAPTER).is_file():
        raise DataError(
            f"{folder} is an adapter: name a whole model, such as 'croco export --merged' makes"
        )
    model, info = _read(AutoModelForCausalLM, folder, options)
    _refuse(folder, info, _lacking(info))
    return model


def classifier(folder: Path, new_head: bool = False, **options: Any) -> Any:
    """The sequence classifier with one output in a directory.

    An adapter there is merged into its base, which it names. Raises DataError as `causal` does, and where
    the head has several outputs. With `new_head` the head is made anew where the files have none of one
    output.
    """
    from transformers import AutoModelForSequenceClassification

    if (folder / ADAPTER).is_file():
        return _adapted_classifier(folder, options)
    model, info = _read(AutoModelForSequenceClassification, folder, options)
    lacking = _lacking(info)
    if new_head:
        prefix = f"{model.base_model_prefix}."
        lacking = {n for n in lacking if n.startswith(prefix) and "pooler" not in n}
    _refuse(folder, info, lacking)
    return model


def check_classifier(folder: Path, adapters: bool = False) -> None:
    """DataError as `classifier` raises it, from the files' headers: no weights are read.

    Also where the directory has an adapter, unless `adapters` may be.
    """
    import peft
    from transformers import AutoConfig

    adapted = (folder / ADAPTER).is_file()
    if adapted and not adapters:
        raise DataError(f"{folder} is an adapter: take kind 'classifier', or a merged model")
    with quiet():
        base = adapter_base(folder) if adapted else folder
        config = AutoConfig.from_pretrained(base, num_labels=1)
    if not adapted:
        classifier(folder, config=config, device_map="meta")
        return
    model = _base_of_classifier(folder, {"config": config, "device_map": "meta"})
    with _unadvised():
        own = peft.PeftConfig.from_pretrained(str(folder))
        model = peft.PeftModel(model, own, low_cpu_mem_usage=True)
    _refuse_adapter(model, folder)


def check_adapter(base: Path, adapter: Path) -> None:
    """DataError where an adapter's files lack weights that it has on its base, from headers alone."""
    import peft

    config = peft.PeftConfig.from_pretrained(str(adapter))
    with _unadvised():
        model = peft.PeftModel(causal(base, device_map="meta"), config, low_cpu_mem_usage=True)
    _refuse_adapter(model, adapter)


def put_on(model: Any, adapter: Path, dropout: float | None = None) -> Any:
    """A model with the adapter of a directory; with `dropout`, to be trained further by that share.

    DataError where the adapter's files lack weights of it, or hold ones that the model has no place for.
    """
    import peft

    config = peft.PeftConfig.from_pretrained(str(adapter))
    if dropout is not None:  # the adapter's own is that of the training before
        config.lora_dropout = dropout
    with _unadvised():
        made = peft.PeftModel.from_pretrained(
            model,
            str(adapter),
            config=config,
            is_trainable=dropout is not None,
            ignore_mismatched_sizes=True,
        )
    _refuse_adapter(made, adapter)
    return made


def adapter_base(folder: Path) -> Path:
    """The directory of the model that an adapter names as its base."""
    import peft

    from croco import models

    name = peft.PeftConfig.from_pretrained(str(folder)).base_model_name_or_path
    return models.fetch(models.resolve(name or "", Path()))


def _adapted_classifier(folder: Path, options: dict[str, Any]) -> Any:
    from croco.merging import merged

    model = _base_of_classifier(folder, options)
    stored = model.dtype
    return merged(put_on(model.float(), folder)).to(stored)


def _base_of_classifier(folder: Path, options: dict[str, Any]) -> Any:
    """The model that an adapter is for, which may lack what the adapter's files hold."""
    from transformers import AutoModelForSequenceClassification

    base = adapter_base(folder)
    model, info = _read(AutoModelForSequenceClassification, base, options)
    saved = {name.partition("base_model.model.")[2] for name in _shapes(folder)}
    _refuse(base, info, _lacking(info) - saved)
    return model


@contextlib.contextmanager
def _unadvised() -> Iterator[None]:
    """Without PEFT's warnings of what is refused, or parted before a merge, here."""
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _read(kind: Any, folder: Path, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    with quiet():
        model, info = kind.from_pretrained(
            folder, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    return model, info


def _lacking(info: dict[str, Any]) -> set[str]:
    """The weights that were made anew: the files lack them, or hold others under their names."""
    return {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}


def _refuse(folder: Path, info: dict[str, Any], lacking: set[str]) -> None:
    if not lacking:
        return
    for name, found, wanted in info["mismatched_keys"]:
        if name in lacking and list(wanted[:1]) == [1] and list(found[1:]) == list(wanted[1:]):
            raise DataError(
                f"{folder}: the reward model has {found[0]} outputs ({name}) and a reward is one number:"
                " take a model with one output"
            )
    others = {name: f" of shape {[*found]}" for name, found, _ in info["mismatched_keys"]}
    stray = sorted(info["unexpected_keys"])
    instead = f"; they hold {_named(stray)}, which it has no place for" if stray else ""
    what = "fitting weights" if lacking & {*others} else "weights"
    raise DataError(
        f"{folder}: the files hold no {what} {_named(sorted(lacking))} of the model{instead}: name a"
        " trained model, since random weights would take their place"
    )


def _refuse_adapter(model: Any, adapter: Path) -> None:
    import peft

    with _unadvised():
        expected = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    wanted = {name: [*tensor.shape] for name, tensor in expected.items()}
    found = _shapes(adapter)
    lacking = sorted(name for name, shape in wanted.items() if found.get(name) != shape)
    stray = sorted(name for name in found if ".lora_" in name and name not in wanted)
    if lacking:
        raise DataError(
            f"{adapter}: the adapter's files hold no fitting weights {_named(lacking)}: train it to its"
            " end, or name its own base"
        )
    if stray:
        raise DataError(
            f"{adapter}: the adapter holds {_named(stray)}, which the model has no place for: name its own"
            " base"
        )


def _shapes(adapter: Path) -> dict[str, list[int]]:
    """The shapes of the weights in an adapter's file, by name."""
    from safetensors import safe_open

    file = adapter / "adapter_model.safetensors"
    if not file.is_file():
        raise DataError(f"{adapter} has no adapter_model.safetensors: name a whole adapter")
    with safe_open(file, framework="pt") as tensors:
        return {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118


def _named(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:SHOWN])
    more = len(names) - SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
