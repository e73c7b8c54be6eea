"""A sequence classifier with one output as reward: its raw logit, read by transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from croco import loading, models
from croco.quiet import quiet
from croco.records import Candidate
from croco.reward_settings import RewardConfig
from croco.rewards import Scores
from croco.rewards.encoding import encode, scored_once
from croco.rewards.passes import Passes
from croco.settings import Resources
from croco.tokens import check_vocabulary


class Classifier:
    """Scores with `AutoModelForSequenceClassification`, from `trained` or else from `config.model`."""

    def __init__(self, config: RewardConfig, resources: Resources, trained: Path | None) -> None:
        folder = trained or models.fetch(config.ref)
        self.model, self.tokenizer = load(folder, resources, dtype=config.dtype)
        self.limit = min(config.max_length, longest(self.model))
        self._passes = Passes(self.model, resources.batch_tokens)

    def score(self, candidates: Sequence[Candidate]) -> Scores:
        """The logit of each answer; EngineError where one is too long or the logit is not finite."""
        rows = [encode(self.tokenizer, c, self.limit) for c in candidates]
        prompts = [str(c.chat) for c in candidates]
        return Scores(
            scored_once(
                rows, lambda ks: self._passes([rows[k] for k in ks], [prompts[k] for k in ks])
            )
        )


def load(
    folder: Path,
    resources: Resources,
    depth: int | None = None,
    dtype: str | None = None,
    new_head: bool = False,
) -> tuple[Any, Any]:
    """The classifier and its tokenizer, in evaluation mode.

    `depth` keeps only the first layers of the model; `dtype` is by default that of the stored weights, on
    every device; `new_head` is for training: without it, DataError where the files hold no trained head.
    """
    import torch
    from transformers import AutoConfig, AutoTokenizer

    device = resources.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if resources.threads:
        torch.set_num_threads(resources.threads)
    base = loading.adapter_base(folder) if (folder / models.ADAPTER).is_file() else folder
    with quiet():
        config = AutoConfig.from_pretrained(base, num_labels=1)
    if depth is not None:
        config.num_hidden_layers = min(depth, config.num_hidden_layers)
    model = loading.classifier(folder, new_head, config=config, dtype=dtype or "auto")
    own = any(folder.glob("tokenizer*"))
    tokenizer: Any = AutoTokenizer.from_pretrained(folder if own else base)
    check_vocabulary(tokenizer, model.get_input_embeddings().num_embeddings, "the reward model")
    text = model.config.get_text_config()
    if text.pad_token_id is None:
        text.pad_token_id = _filler(tokenizer)
    return model.to(device).eval(), tokenizer


def longest(model: Any) -> int:
    """The most tokens that the model has positions for."""
    import torch

    count = int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or 0)
    for name, module in model.named_modules():
        learned = isinstance(module, torch.nn.Embedding) and name.endswith("position_embeddings")
        if learned and module.padding_idx is not None:  # RoBERTa's positions start after it
            count -= module.padding_idx + 1
    return count if count > 0 else 10**9


def _filler(tokenizer: Any) -> int:
    """An id to pad with where a model has none: one that ends no answer, if there is such an id.

    A decoder's reward is read at the last token that is not padding.
    """
    ids = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    known = [int(token) for token in ids if token is not None]
    return next((token for token in known if token != tokenizer.eos_token_id), (known or [0])[0])
