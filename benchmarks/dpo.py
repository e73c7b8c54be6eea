"""DPO tokens per second against a plain TRL script with the settings of the paper's published code.

The rival: micro-batch 1, accumulation 8, gradient checkpointing, the reference recomputed in each step, TRL
otherwise at its defaults. Both load the model, tune a LoRA adapter on the same token ids in the same order
with the same effective batch, and save it; whole times are compared round by round (CroCo's has the
reference's log-probabilities in it), and the losses step by step. The rate of LoRA's dropout is 0, so that
the losses can be compared at all.

    python benchmarks/dpo.py --out benchmarks/results/dpo.json

On a GPU, with a model of EuroLLM-9B's shape and random weights, and the share of the bf16 peak, which is
measured by a matrix product on the same device:

    python benchmarks/dpo.py --shape eurollm-9b --dtype bfloat16 --length 1024 --micro-batch 4 --out ...
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path

import torch
import transformers
import trl
from datasets import Dataset
from peft import LoraConfig

from croco import models
from croco.datafiles import read_preferences, refer
from croco.models import ModelRef
from croco.quiet import quiet
from croco.settings import Resources
from croco.tokens import answer_ids, load_tokenizer, prompt_ids
from croco.training import Example, Job, Place, preference
from croco.training.schedule import schedule
from croco.training_settings import TrainConfig

BATCH = 8
#: EuroLLM-9B's published configuration (a Llama): hidden, intermediate, layers, heads, key-value heads.
SHAPES = {"eurollm-9b": (4096, 12288, 42, 32, 8, 128_000)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--shape", choices=SHAPES, help="random weights of this shape instead")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--length", type=int, help="random responses of this many tokens instead")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--micro-batch", type=int, default=8)
    parser.add_argument("--checkpointing", action="store_true", help="in CroCo's run as well")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        policy = shaped(args, Path(folder)) if args.shape else models.resolve(args.model, Path())
        result = compare(policy, examples(policy, args), args, Path(folder))
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


def shaped(args: argparse.Namespace, folder: Path) -> ModelRef:
    """A model of a shape with random weights and SmolLM2's tokenizer."""
    hidden, middle, layers, heads, shared, words = SHAPES[args.shape]
    config = transformers.LlamaConfig(
        hidden_size=hidden,
        intermediate_size=middle,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=shared,
        vocab_size=words,
    )
    torch.manual_seed(args.seed)
    torch.set_default_dtype(getattr(torch, args.dtype))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = transformers.LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder / "model")
    source = models.fetch_tokenizer(models.resolve("smollm2-135m-instruct", Path()))
    transformers.AutoTokenizer.from_pretrained(source).save_pretrained(folder / "model")
    return ModelRef(name=args.shape, revision="random", location=str(folder / "model"))


def examples(policy: ModelRef, args: argparse.Namespace) -> list[Example]:
    """The bundled English preferences as token ids, or random ones of a length."""
    count = args.steps * BATCH
    if args.length:
        draw = torch.Generator().manual_seed(args.seed)
        sides = torch.randint(100, 40_000, (count, 2, args.length), generator=draw).tolist()
        return [Example(sides[k][0][:64], *sides[k], str(k)) for k in range(count)]
    tokenizer = load_tokenizer(policy)
    rows = read_preferences([refer("bundled:preferences-train.jsonl", Path())])
    rows = [row for row in rows if row.chosen != row.rejected][:count]
    return [
        Example(
            prompt_ids(tokenizer, [{"role": "user", "content": row.prompt}]),
            answer_ids(tokenizer, row.chosen, True),
            answer_ids(tokenizer, row.rejected, True),
            row.id,
        )
        for row in rows
    ]


def config_of(args: argparse.Namespace) -> TrainConfig:
    own = {"batch_size": BATCH, "dtype": args.dtype, "learning_rate": 5e-5, "lora": {"dropout": 0}}
    return TrainConfig.model_validate(own)


def croco(policy: ModelRef, rows: list[Example], args: argparse.Namespace, out: Path) -> list:
    resources = Resources(
        micro_batch=args.micro_batch,
        gradient_checkpointing=args.checkpointing,
        checkpoint_every=10_000,
    )
    job = Job(config_of(args), policy, rows, seed=args.seed)
    return [
        step.loss for step in preference.train(job, Place(out / "out", out / "work", resources))
    ]


class Plain(trl.DPOTrainer):
    """TRL's trainer on token ids in the order given."""

    def _prepare_dataset(self, dataset, *_):
        return dataset

    def _get_train_sampler(self, *_):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def plain(policy: ModelRef, rows: list[Example], args: argparse.Namespace, out: Path) -> list:
    own, source = config_of(args), models.fetch(policy)
    (order,) = (schedule(len(rows), len(rows), 1, args.seed),)
    ordered = [rows[place] for place in order[0]]
    cpu = not torch.cuda.is_available()
    steps = len(rows) // BATCH
    arguments = trl.DPOConfig(
        output_dir=str(out / "plain"),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=BATCH,
        gradient_checkpointing=True,
        learning_rate=own.rate,
        lr_scheduler_type=own.schedule,
        warmup_steps=-(-steps * 5 // 100),
        weight_decay=own.weight_decay,
        beta=own.beta,
        num_train_epochs=1,
        seed=args.seed,
        use_cpu=cpu,
        bf16=args.dtype == "bfloat16",
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = Plain(
        model=transformers.AutoModelForCausalLM.from_pretrained(
            source, dtype=getattr(torch, args.dtype)
        ),
        args=arguments,
        train_dataset=Dataset.from_list(
            [
                {
                    "prompt_ids": row.prompt_ids,
                    "chosen_ids": row.chosen_ids,
                    "rejected_ids": row.rejected_ids,
                }
                for row in ordered
            ]
        ),
        processing_class=transformers.AutoTokenizer.from_pretrained(source),
        peft_config=LoraConfig(
            r=own.lora.r,
            lora_alpha=own.lora.alpha,
            lora_dropout=0.0,
            target_modules=own.lora.targets,
            task_type="CAUSAL_LM",
        ),
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    trainer.save_model(str(out / "plain"))
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


def compare(policy: ModelRef, rows: list[Example], args: argparse.Namespace, folder: Path) -> dict:
    tokens = sum(row.tokens for row in rows)
    models.fetch(policy)
    ways = {"croco": croco, "plain": plain}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    losses: dict[str, list[float]] = {}
    memory: dict[str, float] = {}
    for round_ in range(args.rounds):
        for name, way in ways.items():
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            start = time.monotonic()
            with quiet():
                losses[name] = way(policy, rows, args, folder / f"{name}-{round_}")
            seconds[name].append(time.monotonic() - start)
            if torch.cuda.is_available():
                memory[name] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
                torch.cuda.empty_cache()
    ratios = [a / b for a, b in zip(seconds["plain"], seconds["croco"], strict=True)]
    apart = max(abs(a - b) for a, b in zip(losses["croco"], losses["plain"], strict=True))
    rates = {name: [round(tokens / own, 1) for own in found] for name, found in seconds.items()}
    return {
        "settings": {k: str(v) for k, v in vars(args).items() if k != "out"},
        "date": str(date.today()),
        "machine": machine(),
        "pairs": len(rows),
        "tokens": tokens,
        "longest": max(len(row.prompt_ids) + max(map(len, row.sides)) for row in rows),
        "tokens_per_second": rates,
        "losses": losses,
        "largest_difference_of_losses": apart,
        "peak_memory_gib": memory,
        "share_of_peak": share_of_peak(policy, args, max(rates["croco"])),
        "ratio": {
            "median": round(statistics.median(ratios), 2),
            "min": round(min(ratios), 2),
            "max": round(max(ratios), 2),
        },
    }


def machine() -> str:
    gpu = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if gpu else f"cpu, {torch.get_num_threads()} threads"
    return f"{platform.machine()}, {device}, torch {torch.__version__}, trl {trl.__version__}"


def share_of_peak(policy: ModelRef, args: argparse.Namespace, rate: float) -> float | None:
    """Model FLOPs used over those of a large bf16 product: with LoRA a token costs some 4 operations per
    weight in training (no gradient of the weights) and 2 for the reference."""
    if not torch.cuda.is_available():
        return None
    from accelerate import init_empty_weights

    config = transformers.AutoConfig.from_pretrained(models.fetch(policy))
    with init_empty_weights():
        weights = sum(
            p.numel() for p in transformers.AutoModelForCausalLM.from_config(config).parameters()
        )
    size = 8192
    one = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
    for _ in range(3):
        one @ one
    torch.cuda.synchronize()
    start = time.monotonic()
    for _ in range(20):
        one @ one
    torch.cuda.synchronize()
    peak = 20 * 2 * size**3 / (time.monotonic() - start)
    return round(6 * weights * rate / peak, 3)


if __name__ == "__main__":
    main()
