"""Whether training moved any weight: sums over the bits of what is trained, before and after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from croco.errors import EngineError

#: LoRA's first factor: weight decay alone moves it, and while the second one stays the policy does.
FIRST = ("lora_A", "lora_embedding_A")


def sums(named: Iterable[tuple[str, Any]]) -> dict[str, int]:
    """A sum over the bits of each tensor, by name; LoRA's first factors are left out.

    Any change of a weight changes its sum, unless several changes cancel each other to the last bit.
    """
    return {name: _sum(own) for name, own in named if not any(one in name for one in FIRST)}


def trainable(model: Any) -> dict[str, int]:
    """The sums of the parameters that a model's training changes."""
    return sums((n, own) for n, own in model.named_parameters() if own.requires_grad)


def _sum(tensor: Any) -> int:
    import torch

    whole = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    bits = tensor.detach().contiguous().view(whole)
    return int(bits.sum(dtype=torch.int64))


def refuse_unmoved(before: Mapping[str, int], after: Mapping[str, int], steps: int) -> None:
    """EngineError where every weight is what it was before training."""
    both = before.keys() & after.keys()
    if both and all(before[name] == after[name] for name in both):
        raise EngineError(
            f"training changed no weight in {steps} optimizer steps: raise learning_rate, or see whether"
            " chosen and rejected differ"
        )
