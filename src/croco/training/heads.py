"""Log-probabilities of responses, by TRL's language-model head, which never makes all logits."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from croco.training import Example

Row = dict[str, Any]


def row_of(example: Example) -> Row:
    """An example as TRL's collator for preferences takes it."""
    row: Row = {
        "prompt_ids": example.prompt_ids,
        "chosen_ids": example.chosen_ids,
        "rejected_ids": example.rejected_ids,
    }
    if example.reference:
        row["ref_chosen_logps"], row["ref_rejected_logps"] = example.reference
    return row


def collator(tokenizer: Any) -> Any:
    """TRL's collator of preferences: prompts with their chosen, then with their rejected responses."""
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    pad = tokenizer.pad_token_id
    return DataCollatorForPreference(tokenizer.eos_token_id if pad is None else pad)


def add_head(model: Any) -> None:
    """Give a model TRL's head, or ours where that would be slow (`project_responses_only`)."""
    from trl.trainer.utils import add_fused_lm_head

    add_fused_lm_head(model)
    if model.device.type == "cpu":
        project_responses_only(model)


def log_probs(model: Any, collate: Callable[[list[Row]], Row], rows: Sequence[Example]) -> Any:
    """The log-probabilities, in nats, of chosen and rejected responses, two tensors of (rows,).

    `collate` is TRL's for preferences. Examples of SFT have no rejected response: theirs is the chosen's.
    """
    import torch

    batch = collate(
        [row_of(one) | {"rejected_ids": one.rejected_ids or one.chosen_ids} for one in rows]
    )
    ids, mask = batch["input_ids"].to(model.device), batch["attention_mask"].to(model.device)
    labels = ids.masked_fill(batch["completion_mask"].to(model.device) == 0, -100)
    with torch.no_grad():
        found = model(
            input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True, use_cache=False
        )
    return found.log_probs.float().sum(dim=1).chunk(2)


def project_responses_only(model: Any) -> None:
    """Replace TRL's head, which off the GPU projects prompts onto the vocabulary too.

    Takes three times as long otherwise on a CPU. Entropies and the like are not computed.
    """
    import torch
    from trl.trainer.utils import FusedCausalLMOutput

    full = model.forward

    @functools.wraps(type(model).forward)  # generation looks at the signature
    def forward(*args: Any, labels: Any = None, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return full(*args, **kwargs, **({} if labels is None else {"labels": labels}))
        labels, known = labels[:, 1:], labels[:, 1:] != -100
        kept = known.any(dim=0).nonzero()[:, 0]
        logits = full(*args, **{**kwargs, "logits_to_keep": kept}).logits[known[:, kept]]
        losses = torch.nn.functional.cross_entropy(logits.float(), labels[known], reduction="none")
        log_probs = losses.new_zeros(known.shape).masked_scatter(known, -losses)
        nothing = torch.zeros_like(log_probs)
        return FusedCausalLMOutput(
            log_probs=log_probs,
            entropy=nothing,
            mean_logits=nothing,
            is_top1=nothing.bool(),
            label_mask=known,
        )

    model.forward = forward
