"""Answers per second of the transformers scorer against padded batches in input order.

Both score the first n answers of each pool with the same classifier in float32: the policy's weights
under a random head (its speed is that of a trained one), or any classifier given. The ratio is taken
round by round. The pools are JSON Lines with `responses`; where a pool has no `prompt`, it gets one of
the bundled English ones.

    python benchmarks/scoring.py POOLS --out benchmarks/results/scoring.json
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from croco import models, rewards
from croco.datafiles import read_prompts, refer
from croco.records import Candidate
from croco.reward_settings import RewardConfig
from croco.settings import Resources


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pools", type=Path)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--batch", type=int, default=16, help="the rival's rows in a batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        save(args.model, args.seed, Path(folder))
        scorer = rewards.load(
            RewardConfig(kind="classifier", model=folder), Resources(device=args.device)
        )
        candidates = read(args)
        result = compare(scorer, candidates, args)
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


def save(name: str, seed: int, folder: Path) -> None:
    """The model with a head of one output, drawn from `seed`."""
    source = models.fetch(models.resolve(name, Path()))
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        source, num_labels=1, dtype=torch.float32
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)


def read(args: argparse.Namespace) -> list[Candidate]:
    bundled = read_prompts([refer("bundled:prompts-train.jsonl", Path())])
    english = [row.prompt for row in bundled if row.lang == "en"]
    lines = args.pools.read_text(encoding="utf-8").splitlines()[: args.prompts]
    pools = [json.loads(line) for line in lines]
    return [
        Candidate("en", pool.get("prompt") or english[k], response)
        for k, pool in enumerate(pools)
        for response in pool["responses"][: args.n]
    ]


def compare(scorer, candidates: list[Candidate], args: argparse.Namespace) -> dict:
    tokenizer, model = scorer.tokenizer, scorer.model

    def chat(one: Candidate) -> str:
        turns = [*one.chat, {"role": "assistant", "content": one.response}]
        return tokenizer.apply_chat_template(turns, tokenize=False)

    def rival() -> list[float]:
        found = []
        with torch.inference_mode():
            for start in range(0, len(candidates), args.batch):
                texts = [chat(one) for one in candidates[start : start + args.batch]]
                batch = tokenizer(
                    texts,
                    padding=True,
                    padding_side="right",
                    add_special_tokens=False,
                    return_tensors="pt",
                )
                found += model(**batch.to(model.device)).logits.squeeze(-1).tolist()
        return found

    ways = {"croco": lambda: scorer.score(candidates).rewards, "padded": rival}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    scores: dict[str, list[float]] = {}
    for round_ in range(args.rounds + 1):
        for name, way in ways.items():
            start = time.monotonic()
            scores[name] = way()
            if round_:  # the first round warms up
                rates[name].append(len(candidates) / (time.monotonic() - start))
    ratios = [a / b for a, b in zip(rates["croco"], rates["padded"], strict=True)]
    apart = max(abs(a - b) for a, b in zip(scores["croco"], scores["padded"], strict=True))
    texts = [chat(one) for one in candidates]
    lengths = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    return {
        "settings": {k: str(v) for k, v in vars(args).items() if k not in ("out", "pools")},
        "machine": f"{platform.machine()}, {model.device}, {torch.get_num_threads()} threads,"
        f" torch {torch.__version__}",
        "answers": len(candidates),
        "different": len(set(texts)),
        "tokens": {"mean": round(statistics.mean(lengths), 1), "max": max(lengths)},
        "answers_per_second": {name: [round(r, 2) for r in own] for name, own in rates.items()},
        "largest_difference": apart,
        "ratio": {
            "median": round(statistics.median(ratios), 2),
            "min": round(min(ratios), 2),
            "max": round(max(ratios), 2),
        },
    }


if __name__ == "__main__":
    main()
