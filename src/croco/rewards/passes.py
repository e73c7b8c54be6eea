"""Forward passes of a sequence classifier: rows of like length together within a budget of tokens, and
the beginning that the answers to a prompt share run once where the model allows it."""

from __future__ import annotations

import copy
import inspect
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from functools import partial
from typing import Any

from croco.memory import Halving
from croco.rewards.encoding import Row, read_at

#: A beginning is run on its own where that saves at least this share of its rows' tokens.
WORTH = 0.1
#: The share of padding in a batch, and the tokens that may be wasted to spare a device one pass more.
PADDING = 0.1
SLACK = {"cpu": 32, "cuda": 512}


class Passes:
    """Computes logits with a model in evaluation mode, at most `batch_tokens` tokens at a time."""

    def __init__(self, model: Any, batch_tokens: int) -> None:
        self._model = model
        self._budget = batch_tokens
        slack = SLACK.get(model.device.type, SLACK["cuda"])
        self._padding = (PADDING, slack) if can_pad(model) else (0.0, 0)
        self._shares = can_share(model)
        # Else every pass would keep keys and values, which only a beginning is kept for.
        model.config.get_text_config().use_cache = False
        self._halving = Halving("lower resources.score.batch_tokens or the reward's max_length")

    def __call__(self, rows: Sequence[Row], prompts: Sequence[Hashable]) -> list[float]:
        """One logit per row; rows with equal `prompts` may share their beginning."""
        import torch

        found: dict[int, float] = {}
        with torch.inference_mode():
            for places, start in self._groups(rows, prompts):
                beginning = [rows[places[0]]["input_ids"][:start]] if start else []
                prefix = self._halving(self._prefix, beginning)[0] if start else None
                work = partial(self._logits, rows, start, prefix)
                lengths = {k: len(rows[k]["input_ids"]) - start for k in places}
                for batch in batches(lengths, start, self._budget, self._padding):
                    found |= zip(batch, self._halving(work, batch), strict=True)
        return [found[k] for k in range(len(rows))]

    def _groups(
        self, rows: Sequence[Row], prompts: Sequence[Hashable]
    ) -> Iterator[tuple[list[int], int]]:
        """Places of rows, and how many tokens at their beginning are run once for all of them."""
        groups: dict[Hashable, list[int]] = defaultdict(list)
        for k, prompt in enumerate(prompts):
            groups[prompt].append(k)
        alone: list[int] = []
        for places in groups.values():
            start = self._shared([rows[k] for k in places])
            if start:
                yield places, start
            else:
                alone += places
        yield alone, 0

    def _shared(self, rows: list[Row]) -> int:
        """The length of the beginning to share; each row keeps the token that its reward is read at."""
        if not self._shares or len(rows[0]) > 1:
            return 0
        ids = [row["input_ids"] for row in rows]
        first, last = min(ids), max(ids)  # what these two share, all share
        same = (k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
        start = next(same, min(len(first), len(last)))
        start = min(start, *(read_at(row, padding(self._model)) for row in ids))
        return start if start * (len(ids) - 1) >= WORTH * sum(map(len, ids)) else 0

    def _prefix(self, beginnings: Sequence[list[int]]) -> list[Any]:
        import torch
        from transformers import DynamicCache

        cache = DynamicCache(config=self._model.config)
        batch = torch.tensor(beginnings, device=self._model.device)
        self._model.base_model(input_ids=batch, past_key_values=cache, use_cache=True)
        return [cache]

    def _logits(
        self, rows: Sequence[Row], start: int, prefix: Any, places: Sequence[int]
    ) -> list[float]:
        cut = [{name: ids[start:] for name, ids in rows[k].items()} for k in places]
        logits: list[float] = forward(self._model, cut, prefix).float().tolist()
        return logits


def batches(
    lengths: dict[int, int], start: int, budget: int, padding: tuple[float, int]
) -> Iterator[list[int]]:
    """Places cut into batches, longest first, by the tokens that each adds to the `start` shared ones.

    A padded batch has at most `budget` tokens; those of `padding` are at most a share and so many more.
    """
    batch: list[int] = []
    used = 0
    for place, length in sorted(lengths.items(), key=lambda item: -item[1]):
        size = len(batch) + 1
        width = lengths[batch[0]] if batch else length
        padded = width * size - used - length
        allowed = width * size * padding[0] + padding[1]
        if batch and ((start + width) * size > budget or padded > allowed):
            yield batch
            batch, used = [], 0
        batch.append(place)
        used += length
    if batch:
        yield batch


def forward(model: Any, rows: Sequence[Row], prefix: Any = None) -> Any:
    """The logits of rows, padded to the longest, after what `prefix` holds: a tensor of shape (rows,)."""
    import torch

    width = max(len(row["input_ids"]) for row in rows)
    fill = {"input_ids": padding(model), "token_type_ids": 0}
    batch = {
        name: torch.tensor([row[name] + [fill[name]] * (width - len(row[name])) for row in rows])
        for name in rows[0]
    }
    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    mask = (torch.arange(width) < lengths[:, None]).long()
    more: dict[str, Any] = {}
    if prefix is not None:
        mask = torch.cat([mask.new_ones(len(rows), prefix.get_seq_length()), mask], dim=1)
        more["past_key_values"] = _repeated(prefix, len(rows))
    inputs = {name: ids.to(model.device) for name, ids in {**batch, "attention_mask": mask}.items()}
    return model(**inputs, **more).logits.squeeze(-1)


def padding(model: Any) -> int:
    """The id that a classifier takes for padding when it looks for a row's last token."""
    return int(model.config.get_text_config().pad_token_id)


def can_share(model: Any) -> bool:
    """Whether rows may be run after a common beginning: each token sees only those before it, and the
    model keeps nothing of them but keys and values."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    config = model.config.get_text_config()
    causal = [module.is_causal for module in model.modules() if hasattr(module, "is_causal")]
    looks_back = bool(causal) and all(causal) and getattr(config, "is_causal", True)
    takes = "past_key_values" in inspect.signature(model.forward).parameters
    if not (looks_back and takes) or _long_rope(config) or model.config.is_encoder_decoder:
        return False
    layers = DynamicCache(config=model.config).layers
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


def can_pad(model: Any) -> bool:
    """Whether padding after a row leaves its logit as it is; else only rows of one length go together."""
    masked = "attention_mask" in inspect.signature(model.forward).parameters
    reads_the_end = model.config.model_type == "xlnet"
    return masked and not reads_the_end and not _long_rope(model.config.get_text_config())


def _long_rope(config: Any) -> bool:
    """Whether positions mean something else in a batch with a row beyond a certain length (Phi-3)."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None)
    return "longrope" in str(rope)


def _repeated(prefix: Any, count: int) -> Any:
    """A cache of its own for `count` rows, which may grow; the prefix stays as it is."""
    cache = copy.copy(prefix)
    cache.layers = [copy.copy(layer) for layer in prefix.layers]
    for layer in cache.layers:
        layer.keys = layer.keys.expand(count, -1, -1, -1)
        layer.values = layer.values.expand(count, -1, -1, -1)
    return cache
