"""What the tests of training share: a tiny random model, examples for it, and a run of the trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from croco.models import ModelRef
from croco.records import Step
from croco.settings import Resources
from croco.training import Example, Job, Place, preference
from croco.training_settings import TrainConfig

EOS, WORDS = 1, 60


def save_tiny(folder: Path, width: int = 32) -> Path:
    """A random Llama with a vocabulary of words, saved as a model directory."""
    import tokenizers
    import torch
    import transformers

    vocabulary = {"<pad>": 0, "</s>": EOS} | {f"w{n}": n for n in range(2, WORDS)}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<pad>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.content }}{{ '</s>' if m.role == 'assistant' }}{% endfor %}"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    shape = transformers.LlamaConfig(
        vocab_size=WORDS,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        eos_token_id=EOS,
        bos_token_id=None,
    )
    transformers.LlamaForCausalLM(shape).save_pretrained(folder)
    return folder


def policy(source: Path) -> ModelRef:
    return ModelRef(name="tiny-llama", revision="1", location=str(source))


def examples(count: int = 11, method: str = "dpo") -> list[Example]:
    """Examples of differing lengths; the chosen answers of odd ones were cut off (no EOS)."""

    def ids(seed: int, size: int) -> list[int]:
        return [2 + (seed * 31 + k * 17) % (WORDS - 2) for k in range(size)]

    return [
        Example(
            ids(n, 3 + n % 4),
            ids(n + 50, 2 + n % 5) + [EOS] * (n % 2 == 0),
            [*ids(n + 90, 1 + n % 3), EOS] if method == "dpo" else [],
            f"p{n}",
            "en",
        )
        for n in range(count)
    ]


def settings(method: str = "dpo", **changes: Any) -> TrainConfig:
    own = {
        "method": method,
        "learning_rate": 1e-2,
        "batch_size": 8,
        "epochs": 2,
        "dtype": "float32",
        "warmup_share": 0,
        "lora": {"dropout": 0},
    }
    return TrainConfig.model_validate(own | changes)


def run(
    source: Path,
    out: Path,
    method: str = "dpo",
    micro: int = 8,
    told: Callable[..., None] = lambda *_: None,
    seed: int = 5,
    start: Path | None = None,
    rows: Sequence[Example] | None = None,
    heldout: Sequence[Example] = (),
    resources: dict[str, Any] | None = None,
    **changes: Any,
) -> list[Step]:
    """Train the tiny model on some examples; checkpoints lie beside `out`."""
    where = Resources(micro_batch=micro, device="cpu", threads=1, **(resources or {}))
    place = Place(out, out.with_name(f"{out.name}-work"), where, told)
    own = settings(method, **changes)
    job = Job(own, policy(source), rows or examples(), heldout, start, seed)
    return preference.train(job, place)


def weights(out: Path, name: str = "adapter_model.safetensors") -> dict[str, Any]:
    from safetensors.torch import load_file

    found: dict[str, Any] = load_file(out / name)
    return found
