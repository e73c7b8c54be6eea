"""Training in a recipe: by what loss, on which weights, and what is watched meanwhile."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import Field

from croco.settings import Dtype, Section, Share, refuse_unused

#: TRL's losses of DPO in which a pair's loss depends on that pair alone. In `aot` and `aot_unpaired` it
#: depends on which pairs share a forward pass, which is a matter of memory and must change nothing.
Loss = Literal[
    "sigmoid",
    "sigmoid_norm",
    "ipo",
    "hinge",
    "robust",
    "apo_zero",
    "apo_down",
    "exo_pair",
    "nca_pair",
    "bco_pair",
    "sppo_hard",
    "discopop",
]
#: Losses that take `label_smoothing`.
SMOOTHED = ("robust", "exo_pair")


#: What DPO alone reads.
OF_DPO = ("loss", "beta", "sft_weight", "label_smoothing")


class Lora(Section):
    """LoRA's rank, alpha, dropout and target modules; the defaults are the paper's."""

    r: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: Share = 0.05
    targets: Annotated[list[str], Field(min_length=1)] = [
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    ]
    quantized: bool = Field(False, description="the base's weights in 4 bits (QLoRA)")


class Watch(Section):
    """What is looked at during training, on prompts that are held out of it by `heldout_share`."""

    every: int = Field(25, ge=1, description="optimizer steps from one look to the next")
    pairs: int = Field(32, ge=1, description="most held-out pairs whose likelihood is looked at")
    prompts: int = Field(8, ge=0, description="most held-out prompts that are answered, greedily")
    max_tokens: int = Field(128, ge=1, description="of such an answer")
    identifier: str = "py3langid"
    stop: bool = Field(False, description="end training at the first alert")

    @pydantic.model_validator(mode="after")
    def _of_answers(self) -> Watch:
        if not self.prompts:
            refuse_unused(
                self, ["max_tokens", "identifier"], "is of answers to prompts, and prompts is 0"
            )
        return self


class TrainConfig(Section):
    """Tuning on pairs by DPO, or by SFT on the chosen responses; learning rates default to the paper's."""

    method: Literal["dpo", "sft"] = "dpo"
    trainer: str = "trl"
    learning_rate: float | None = Field(None, gt=0)
    epochs: float = Field(1.0, gt=0)
    batch_size: int = Field(64, ge=1, description="pairs per optimizer step, over all processes")
    loss: Loss = Field("sigmoid", description="of DPO; sigmoid_norm is normalised by length")
    beta: float = Field(0.1, gt=0)
    sft_weight: float = Field(
        0.0, ge=0, description="of the chosen responses' SFT loss, added to that of DPO"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="share of pairs taken to be the wrong way round"
    )
    lora: Lora | None = Field(Lora(), description="none: all weights are tuned")
    warmup_share: Share = 0.05
    schedule: str = "cosine"
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    max_length: int = Field(4096, ge=8, description="tokens of prompt and response")
    dtype: Dtype = "bfloat16"
    heldout_share: Share = Field(
        0.0, lt=1, description="of the prompts, kept out of training to be watched"
    )
    watch: Watch | None = None

    @property
    def rate(self) -> float:
        """The learning rate, by default 5e-6 for DPO and 2e-4 for SFT (the paper's)."""
        return self.learning_rate or (5e-6 if self.method == "dpo" else 2e-4)

    @property
    def quantized(self) -> bool:
        """Whether the base's weights have 4 bits."""
        return self.lora is not None and self.lora.quantized

    @pydantic.model_validator(mode="after")
    def _used(self) -> TrainConfig:
        if self.method == "sft":
            refuse_unused(self, OF_DPO, "belongs to DPO and method is sft")
        if self.schedule == "constant" and self.warmup_share:  # 0 is what it has
            refuse_unused(
                self, ["warmup_share"], "needs the schedule constant_with_warmup, not constant"
            )
        if self.label_smoothing and self.loss not in SMOOTHED:
            raise ValueError(
                f"label_smoothing is for the losses {' and '.join(SMOOTHED)}, not {self.loss!r}"
            )
        if self.loss == "exo_pair" and not self.label_smoothing:
            raise ValueError("the loss exo_pair needs label_smoothing above 0, such as 0.001")
        if self.watch and not self.heldout_share:
            raise ValueError("watch needs held-out prompts: set heldout_share, such as 0.05")
        return self
