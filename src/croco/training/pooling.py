"""A trained head on a frozen BERT: mean pooling, written as a layer, and run once per answer."""

from __future__ import annotations

import copy
from typing import Any

from croco.errors import EngineError

Row = dict[str, list[int]]
#: How much the mean outweighs what a residual connection adds to it.
MEAN_WEIGHT = 1000.0


def run_once(model: Any, tokenizer: Any, rows: list[Row], batch_size: int) -> list[Any]:
    """What the pooler of a BERT reads of each row, (hidden,); equal rows are run once.

    The model gets one layer more, whose output at the first token is the mean over all tokens.
    """
    import torch

    if model.config.model_type != "bert":
        raise EngineError("reward training with layers: 0 needs a BERT encoder: set layers or none")
    _append_mean_layer(model)
    unique = {tuple(row["input_ids"]): row for row in rows}
    order = sorted(unique, key=len)
    found: dict[tuple[int, ...], Any] = {}
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        with torch.no_grad():
            batch = tokenizer.pad([unique[ids] for ids in part], return_tensors="pt")
            hidden = model.bert(**batch.to(model.device)).last_hidden_state[:, 0]
        found |= dict(zip(part, hidden, strict=True))
    return [found[tuple(row["input_ids"])] for row in rows]


def head(model: Any, outputs: list[Any]) -> Any:
    """The rewards, (rows,), of what `run_once` gave."""
    import torch

    pooled = model.bert.pooler(torch.stack(outputs)[:, None])
    return model.classifier(model.dropout(pooled)).squeeze(-1)


def _append_mean_layer(model: Any) -> None:
    """Add a layer that gives the layer-normalised mean over all tokens, in BERT's own terms.

    Queries and keys of zero attend to every token alike, identities carry the mean through, and the
    feed-forward part adds nothing; so mean pooling needs no model class of its own.
    """
    import torch

    layer = copy.deepcopy(model.bert.encoder.layer[-1])
    one = torch.eye(model.config.hidden_size, device=model.device)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.attention.self.value.weight.copy_(one)
        layer.attention.output.dense.weight.copy_(one * MEAN_WEIGHT)
        layer.attention.output.LayerNorm.weight.fill_(1)
        layer.output.LayerNorm.weight.fill_(1)
    model.bert.encoder.layer.append(layer)
    model.config.num_hidden_layers += 1
