"""How long the figures of a judged comparison take: languages x prompts x resamples, in one process.

    python benchmarks/comparing.py [--languages 11] [--prompts 500] [--out FILE]

The verdicts are drawn (seed 0): two orders a comparison, one comparison a prompt. Measured are all
figures of `croco.comparing.judged`, per language and on average, with their intervals.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np

from croco.comparing import Comparison, judged
from croco.provenance import provenance
from croco.stats import RESAMPLES


def drawn(languages: int, prompts: int) -> list[Comparison]:
    draw = np.random.default_rng(0)
    rows = []
    for lang in range(languages):
        for id in range(prompts):
            said = [str(one) for one in draw.choice(["win", "tie", "loss"], 2, p=[0.5, 0.1, 0.4])]
            base, tuned = (int(n) for n in draw.integers(200, 3000, 2))
            spoken = bool(draw.random() < 0.9), bool(draw.random() < 0.95)
            rows.append(Comparison(f"p{id}", f"l{lang:02}", said, (base, tuned), spoken))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--languages", type=int, default=11)
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = drawn(args.languages, args.prompts)
    seconds = []
    for _ in range(args.rounds):
        start = time.perf_counter()
        judged(rows, 0)
        seconds.append(round(time.perf_counter() - start, 2))
    found = {
        "languages": args.languages,
        "prompts": args.prompts,
        "resamples": RESAMPLES,
        "seconds": seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "provenance": provenance(),
    }
    text = json.dumps(found, indent=1)
    if args.out:
        args.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
