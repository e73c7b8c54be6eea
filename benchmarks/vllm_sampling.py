"""Tokens per second of the vllm engine against a bare `LLM.generate` on the same prompts.

Both sample n answers to the same prompts from token ids with the same settings, each in processes of
its own, in turn, `--rounds` times; starting vLLM is not counted. The ratio is taken round by round.

    python benchmarks/vllm_sampling.py --out benchmarks/results/vllm-sampling.json
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

from croco import engines, models
from croco.datafiles import read_prompts, refer
from croco.engines import Request
from croco.settings import Resources, Sampling
from croco.stage import seed_of
from croco.tokens import load_tokenizer, prompt_ids


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", default="smollm2-135m-instruct")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--way", choices=["croco", "generate"], help="time one way, in this process"
    )
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def main() -> None:
    args = parsed()
    if args.way:
        print(json.dumps(time_one(args)))
        return
    rounds = {"croco": [], "generate": []}
    for _ in range(args.rounds):
        for way, found in rounds.items():
            done = subprocess.run(
                [sys.executable, __file__, "--way", way, *sys.argv[1:]],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            found.append(json.loads(done.stdout.splitlines()[-1]))
    rates = {way: [one["tokens"] / one["seconds"] for one in own] for way, own in rounds.items()}
    ratios = [a / b for a, b in zip(rates["croco"], rates["generate"], strict=True)]
    first = rounds["croco"][0]
    result = {
        "settings": {k: str(v) for k, v in vars(args).items() if k not in ("out", "way")},
        "machine": first["machine"],
        "tokens": {way: [one["tokens"] for one in own] for way, own in rounds.items()},
        "tokens_per_second": {way: [round(r, 1) for r in own] for way, own in rates.items()},
        "ratio": {
            "median": round(statistics.median(ratios), 3),
            "min": round(min(ratios), 3),
            "max": round(max(ratios), 3),
        },
    }
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


def time_one(args: argparse.Namespace) -> dict:
    import torch
    import vllm

    policy = models.resolve(args.policy, Path())
    rows = read_prompts([refer("bundled:prompts-train.jsonl", Path())])
    rows = [row for row in rows if row.lang in ("en", "es", "fr", "de")]
    rows = [rows[k % len(rows)] for k in range(args.prompts + 1)]
    way = {"croco": croco, "generate": generate}[args.way](args, policy)
    way(rows[-1:])  # warms up
    start = time.monotonic()
    tokens = way(rows[:-1])
    seconds = time.monotonic() - start
    cuda = torch.cuda.is_available()
    machine = torch.cuda.get_device_name() if cuda else f"{torch.get_num_threads()} threads"
    versions = f"torch {torch.__version__}, vllm {vllm.__version__}"
    return {
        "tokens": tokens,
        "seconds": seconds,
        "machine": f"{platform.machine()}, {machine}, {versions}",
    }


def croco(args: argparse.Namespace, policy: models.ModelRef):
    sampling = Sampling(engine="vllm", n=args.n, max_tokens=args.tokens, dtype=args.dtype)
    resources = Resources(max_sequences=args.sequences, max_context=args.context)
    engine = engines.load("vllm", policy, sampling, resources)

    def way(rows) -> int:
        batch = [
            Request(k, row.chat, [seed_of(k, *row.key, j) for j in range(args.n)])
            for k, row in enumerate(rows)
        ]
        replies = [reply for part in engine.generate([batch]) for reply in part]
        return sum(len(one.token_ids) for reply in replies for one in reply.completions)

    return way


def generate(args: argparse.Namespace, policy: models.ModelRef):
    import vllm

    engine = vllm.LLM(
        model=str(models.fetch(policy)),
        dtype=args.dtype,
        max_num_seqs=args.sequences,
        max_model_len=args.context,
        enforce_eager=vllm.platforms.current_platform.is_cpu(),
    )
    tokenizer = load_tokenizer(policy)

    def way(rows) -> int:
        prompts = [{"prompt_token_ids": prompt_ids(tokenizer, row.chat)} for row in rows]
        # One seed for each prompt: without seeds vLLM samples by another, quicker path.
        sampling = [
            vllm.SamplingParams(
                n=args.n, temperature=1.0, max_tokens=args.tokens, seed=k, detokenize=True
            )
            for k in range(len(rows))
        ]
        outputs = engine.generate(prompts, sampling, use_tqdm=False)
        return sum(len(one.token_ids) for output in outputs for one in output.outputs)

    return way


if __name__ == "__main__":
    main()
