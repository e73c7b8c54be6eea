"""Adapters merged into their base's weights, and compared with what they were before."""

from __future__ import annotations

import warnings
from typing import Any

from croco.errors import EngineError

#: Ids that are read for the comparison: rows and their length.
ROWS, LENGTH = 4, 24
#: The largest difference of a logit: a share of what the adapter changes, and one of the largest logit, for
#: rounding in float32.
OF_EFFECT, OF_LOGIT = 0.01, 1e-4


def merged(adapted: Any) -> Any:
    """The base of a PEFT model with the adapter in its weights, changed in place; they should be float32.

    Weights that several modules share are parted first where the adapter changes them, as one of them alone
    would be meant. Raises EngineError where the result is not what the adapter is at run time.
    """
    adapted.eval()
    before = logits(adapted)
    with adapted.disable_adapter():
        effect = _apart(before, logits(adapted))
    _part_tied(adapted)
    with warnings.catch_warnings():  # PEFT's of weights that are shared: they no longer are
        warnings.simplefilter("ignore", UserWarning)
        model = adapted.merge_and_unload(safe_merge=True)
    apart, largest = _apart(before, logits(model)), float(before.abs().max())
    if not apart <= OF_EFFECT * effect + OF_LOGIT * largest:  # NaN is no agreement
        raise EngineError(
            f"merged weights would give logits that differ by {apart:.3g} from the adapter's, which changes"
            f" its base by {effect:.3g}: keep the adapter as it is"
        )
    return model


def cast(model: Any, dtype: Any) -> None:
    """Give a model's weights another precision; what it computes from its config keeps its own."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)


def check_saved(model: Any, loaded: Any) -> None:
    """EngineError where a model that was saved and loaded again is another one; both in float32."""
    expected = logits(model)
    apart = _apart(expected, logits(loaded))
    if not apart <= OF_LOGIT * float(expected.abs().max()):
        raise EngineError(
            f"the merged model, loaded from its files, gives logits that differ by {apart:.3g}: keep the"
            " adapter as it is"
        )


def logits(model: Any) -> Any:
    """A model's logits of some ids, in float32."""
    import torch

    size = len(model.get_input_embeddings().weight)
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(size, (ROWS, LENGTH), generator=draw).to(model.device)
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float()


def _part_tied(adapted: Any) -> None:
    """Give the output layer weights of its own where it shares the input's and the adapter changes one."""
    import torch

    model = adapted.get_base_model()
    layers = [model.get_input_embeddings(), model.get_output_embeddings()]
    plain = [type(layer) in (torch.nn.Embedding, torch.nn.Linear) for layer in layers]
    tied = getattr(model.config.get_text_config(), "tie_word_embeddings", False)
    if layers[1] is None or not tied or all(plain):
        return
    outer = getattr(layers[1], "base_layer", layers[1])
    outer.weight = torch.nn.Parameter(outer.weight.detach().clone(), requires_grad=False)
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = False


def _apart(one: Any, other: Any) -> float:
    return float((one - other).abs().max())
