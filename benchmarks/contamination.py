"""The contamination check's time and memory on prompts of random words, with one prompt planted.

python benchmarks/contamination.py [--train 10000] [--heldout 500] [--words 100]
"""

import argparse
import random
import resource
import time
from pathlib import Path

from croco.contamination import overlaps
from croco.datafiles import read_prompts, refer
from croco.records import Prompt

parser = argparse.ArgumentParser(description=__doc__)
for name, default in (("train", 10_000), ("heldout", 500), ("words", 100), ("seed", 0)):
    parser.add_argument(f"--{name}", type=int, default=default)
args = parser.parse_args()
draw = random.Random(args.seed)
bundled = read_prompts([refer("bundled:prompts-train.jsonl", Path())])
words = {lang: [] for lang in sorted({row.lang for row in bundled})}
for row in bundled:
    words[row.lang] += row.prompt.split()


def made(prefix, count):
    """Prompts of words drawn from the bundled ones, in each of their ten languages."""
    for k in range(count):
        for lang, known in words.items():
            yield Prompt(f"{prefix}{k}", lang, " ".join(draw.choices(known, k=args.words)))


heldout = list(made("h", args.heldout))
train = list(made("t", args.train))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
train.append(Prompt("planted", "ga", f"Dia duit! {heldout[9].prompt} Slán"))
start, cpu = time.monotonic(), time.process_time()
found = overlaps(train, heldout)
print(f"{len(train):,} against {len(heldout):,} prompts of {args.words} words")
print(f"{time.process_time() - cpu:.1f} s of one core, {time.monotonic() - start:.1f} s in all")
print(f"{(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024:.0f} MiB more memory")
print("found:", *found, sep="\n  ")
