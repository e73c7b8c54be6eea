"""How many edited prompts the contamination check misses, and how often unrelated prompts are alarms.

    python benchmarks/contamination_edits.py [--data DIR] [--out benchmarks/results/contamination.json]

Each evaluation prompt is edited and given as a training prompt: in capitals, without accents, with one word
changed (a random one, or that in the middle, by a random word of its language), dropped or added, with two
words swapped, its halves swapped, its words shuffled, or inside a longer text. False alarms are the pairs
of prompts with different ids that are found between and within sets. With `--data` the sets of
`parallel_prompts` there are measured too: MultiQ, MT-Bench and m-ArenaHard.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from croco.contamination import overlaps
from croco.datafiles import read_prompts, refer
from croco.records import Prompt

#: The sets of parallel prompts, by the beginning of their ids.
SETS = ("multiq", "mtbench", "marenahard")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    sets = bundled() | (parallel(args.data) if args.data else {})
    result = {
        "seed": args.seed,
        "prompts": {name: len(rows) for name, rows in sets.items()},
        "missed": {name: missed(rows, args.seed) for name, rows in sets.items()},
        "false_alarms": alarms(sets),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


def bundled() -> dict[str, list[Prompt]]:
    return {
        f"bundled-{side}": read_prompts([refer(f"bundled:prompts-{side}.jsonl", Path())])
        for side in ("train", "heldout")
    }


def parallel(data: Path) -> dict[str, list[Prompt]]:
    rows = [
        json.loads(line)
        for path in sorted((data / "parallel_prompts").glob("*.jsonl"))
        for line in path.open(encoding="utf-8")
    ]
    found = [Prompt(row["id"], row["lang"], row["prompt"]) for row in rows]
    return {name: [row for row in found if row.id.startswith(name)] for name in SETS}


def missed(rows: list[Prompt], seed: int) -> dict[str, int]:
    """Of each edit the prompts that are not found in their own edited text."""
    draw = random.Random(seed)
    known: dict[str, list[str]] = {}
    for row in rows:
        known.setdefault(row.lang, []).extend(row.prompt.split())
    edited = [dict(edits(row, draw, draw.choice(known[row.lang]))) for row in rows]
    asked = [Prompt(str(k), row.lang, row.prompt) for k, row in enumerate(rows)]
    counts = {}
    for name in edited[0]:
        train = [Prompt(f"t{k}", rows[k].lang, own[name]) for k, own in enumerate(edited)]
        found = {(row.id, row.train_id) for row in overlaps(train, asked)}
        counts[name] = sum((str(k), f"t{k}") not in found for k in range(len(rows)))
    return counts


def edits(row: Prompt, draw: random.Random, other: str) -> Iterator[tuple[str, str]]:
    own = row.prompt.split()
    middle, at, end = len(own) // 2, draw.randrange(len(own)), len(own) - 1
    plain = unicodedata.normalize("NFD", row.prompt)
    yield "case", row.prompt.upper()
    yield "accents", "".join(c for c in plain if not unicodedata.combining(c))
    for name, place in (("one word", at), ("middle word", middle)):
        yield name, " ".join([*own[:place], other, *own[place + 1 :]])
    yield "word dropped", " ".join([*own[:at], *own[at + 1 :]])
    yield "word added", " ".join([*own[:at], other, *own[at:]])
    for name, pair in (
        ("neighbours swapped", (at, min(at + 1, end))),
        ("words swapped", (at, draw.randrange(len(own)))),
    ):
        mixed = [*own]
        mixed[pair[0]], mixed[pair[1]] = own[pair[1]], own[pair[0]]
        yield name, " ".join(mixed)
    yield "halves swapped", " ".join([*own[middle:], *own[:middle]])
    yield "shuffled", " ".join(draw.sample(own, len(own)))
    yield "inside", f"Please answer the following question. {row.prompt} Thank you very much!"


def alarms(sets: dict[str, list[Prompt]]) -> dict[str, dict[str, Any]]:
    """Pairs of ids found between a set as training prompts and one as evaluation prompts."""
    found = {}
    for train, heldout in itertools.product(sets, sets):
        rows = [row for row in overlaps(sets[train], sets[heldout]) if row.id != row.train_id]
        found[f"{train} against {heldout}"] = {
            "pairs": len({(row.train_id, row.id) for row in rows}),
            "evaluation_ids": len({row.id for row in rows}),
            "of_ids": len({row.id for row in sets[heldout]}),
        }
    return found


if __name__ == "__main__":
    main()
