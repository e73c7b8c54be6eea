"""Tokens per second of the transformers engine against `generate` of transformers.

Both sample n answers to the same prompts from the same model in the same precision and batch, in
turn, `--rounds` times; the ratio is taken round by round.

    python benchmarks/sampling.py --out benchmarks/results/sampling.json
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from croco import models
from croco.datafiles import read_prompts, refer
from croco.engines import Request
from croco.engines.transformers import TransformersEngine
from croco.settings import Resources, Sampling
from croco.stage import seed_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", default="smollm2-135m-instruct")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    policy = models.resolve(args.policy, Path())
    sampling = Sampling(n=args.n, max_tokens=args.tokens, dtype=args.dtype)
    engine = TransformersEngine(policy, sampling, Resources())
    folder = models.fetch(policy)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, args.dtype)).eval()

    rows = read_prompts([refer("bundled:prompts-train.jsonl", Path())])
    rows = [row for row in rows if row.lang in ("en", "es", "fr", "de")][: args.prompts]
    prompts = [engine.encode(row.chat) for row in rows]
    padded = tokenizer.pad({"input_ids": prompts}, return_tensors="pt")

    def ours(round_: int) -> int:
        batch = [
            Request(row.key, row.chat, [seed_of(round_, *row.key, k) for k in range(args.n)])
            for row in rows
        ]
        replies = [reply for part in engine.generate([batch]) for reply in part]
        return sum(len(answer.token_ids) for reply in replies for answer in reply.completions)

    def rival(round_: int) -> int:
        torch.manual_seed(round_)
        with torch.inference_mode():
            out = model.generate(
                **padded,
                do_sample=True,
                top_k=0,
                top_p=1.0,
                temperature=1.0,
                num_return_sequences=args.n,
                max_new_tokens=args.tokens,
            )
        new = out[:, padded["input_ids"].shape[1] :]
        return sum(length(ids.tolist(), tokenizer.eos_token_id) for ids in new)

    rates = {"croco": [], "generate": []}
    for round_ in range(args.rounds + 1):
        for name, sample in (("croco", ours), ("generate", rival)):
            start = time.monotonic()
            tokens = sample(round_)
            if round_:  # the first round warms up
                rates[name].append(tokens / (time.monotonic() - start))
    ratios = [a / b for a, b in zip(rates["croco"], rates["generate"], strict=True)]
    result = {
        "settings": {k: str(v) for k, v in vars(args).items() if k != "out"},
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "tokens_per_second": {name: [round(r, 1) for r in own] for name, own in rates.items()},
        "ratio": {
            "median": round(statistics.median(ratios), 2),
            "min": round(min(ratios), 2),
            "max": round(max(ratios), 2),
        },
    }
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


def length(ids: list[int], end: int) -> int:
    """Tokens of an answer up to and with its end token, as the engine counts them."""
    return ids.index(end) + 1 if end in ids else len(ids)


if __name__ == "__main__":
    main()
