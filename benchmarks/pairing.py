"""Time and peak memory of pair construction, as whole processes, against a plain script.

    python benchmarks/pairing.py data DIR --prompts 10000     # 6.8 GB of JSON Lines, 8.1 GB of shards
    python benchmarks/pairing.py measure DIR --out benchmarks/results/pairing.json

`data` invents responses, 64 to a prompt in seven languages, and writes them twice: as JSON Lines in
random order, and as the sealed `sample` and `score` stages of a run. `measure` runs, one after another:

    shards    `croco run DIR/recipe.yaml --until pair`, where only the pairs are owed
    jsonl     `croco pair` on the JSON Lines
    plain     the rival, `pairing.py plain DIR`: reads all rows into memory, groups them, writes pairs

Each runs `--rounds` times after one run that is not counted and brings its files into the page cache: all
three at once would not fit there, and the disk would be what is measured. Ratios are plain over CroCo,
round by round; a peak is the largest resident memory of a process. The three must give the same pairs.
croco and pyarrow are imported late, as they would add to the rival's figures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

LANGUAGES = ("en", "es", "fr", "de", "it", "pt", "nl")
LETTERS = 8 * "eeeeaaaaiiioooonnnsssrrrtttllddcmupbghvfzjq" + "áéíóúñçäöüßàèìê"
WORDS, CORPUS = 30_000, 3_000_000
#: A shard of responses on disk, and a piece of one in memory; and what a character of an answer takes
#: there, with its share of the token ids.
SHARD_BYTES, PACKED = 200e6, 1.3
PIECE_BYTES, UNPACKED = 60e6, 3.1
RECIPE = """\
name: pairing
languages: [{languages}]
policy: fake
shards: {shards}
prompts: {{train: [prompts.jsonl], heldout: [heldout.jsonl]}}
sample: {{engine: fake, n: {n}}}
reward: {{kind: fake}}
arms:
  dpo-monolingual: {{train: {{method: dpo, trainer: fake}}}}
evaluate:
  judge: {{kind: function, function: "croco.rewards.fake:brevity"}}
  identifier: fake
"""
Row = dict[str, Any]


@dataclass
class Made:
    """Invented answers as slices of one corpus, so that any order can be written of them.

    `words` is the corpus as numbers; `start`, `length` and `reward` are languages x prompts x n.
    """

    langs: list[str]
    words: np.ndarray
    corpus: str
    start: np.ndarray
    length: np.ndarray
    reward: np.ndarray

    def texts(self, *at: Any) -> list[str]:
        return slices(self.corpus, self.start[at], self.length[at])

    def token_ids(self, *at: Any) -> list[np.ndarray]:
        """Word numbers in place of token ids, a quarter as many as characters."""
        return slices(self.words, self.start[at] // 8, self.length[at] // 4)


def slices(of: Any, start: np.ndarray, length: np.ndarray) -> list[Any]:
    return [of[at:end] for at, end in zip(start.tolist(), (start + length).tolist(), strict=True)]


def make(args: argparse.Namespace, draw: np.random.Generator) -> Made:
    """Words by Zipf's law, lengths and rewards by normal ones."""
    letters, chance = np.array(list(LETTERS)), 1 / np.arange(1, WORDS + 1)
    sizes = 2 + draw.poisson(np.log1p(np.arange(WORDS)) / 2)
    spelled = ["".join(draw.choice(letters, size)) for size in sizes]
    words = draw.choice(WORDS, CORPUS, p=chance / chance.sum())
    corpus = " ".join([spelled[word] for word in words])
    shape = (args.languages, args.prompts, args.n)
    length = np.maximum(draw.normal(args.chars, args.chars * 300 / 1400, shape), 50).astype(int)
    means = draw.normal(size=(args.languages, 1, 1)) + draw.normal(size=(1, args.prompts, 1))
    return Made(
        langs=sorted(LANGUAGES[: args.languages]),
        words=words,
        corpus=corpus,
        start=draw.integers(0, len(corpus) - length.max(), shape),
        length=length,
        reward=means + draw.normal(size=shape),
    )


def data(args: argparse.Namespace) -> None:
    """The subcommand: all files of a new folder."""
    began, draw = time.monotonic(), np.random.default_rng(args.seed)
    args.folder.mkdir(parents=True)
    made = make(args, draw)
    rows = made.length.size
    shards = args.shards or max(1, round(rows * args.chars * PACKED / SHARD_BYTES))
    for k in range(args.languages):
        write_answers(args.folder, made, k, draw.permutation(args.prompts * args.n))
    write_prompts(args.folder / "prompts.jsonl", made, range(args.prompts))
    write_prompts(args.folder / "heldout.jsonl", made, range(args.prompts, args.prompts + 4))
    text = RECIPE.format(languages=", ".join(made.langs), shards=shards, n=args.n)
    (args.folder / "recipe.yaml").write_text(text)
    subprocess.run(croco_run(args.folder, "prompts"), check=True)
    seal(args.folder, made)
    known = {k: v for k, v in vars(args).items() if k not in ("folder", "verb")}
    (args.folder / "settings.json").write_text(json.dumps(known | {"shards": shards, "rows": rows}))
    print(f"{rows} rows in {shards} shards, {time.monotonic() - began:.0f} s")


def write_answers(folder: Path, made: Made, k: int, order: np.ndarray) -> None:
    """One language's answers in random order; nothing in them needs escaping."""
    lang, n = made.langs[k], made.length.shape[2]
    with (folder / f"responses-{lang}.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        for part in np.array_split(order, len(order) // 5000 + 1):
            at = (k, *np.divmod(part, n))
            rows = zip(at[1].tolist(), made.texts(*at), made.reward[at].tolist(), strict=True)
            file.writelines(
                f'{{"id": "{name(p)}", "lang": "{lang}", "response": "{text}", "reward": {reward!r}}}\n'
                for p, text, reward in rows
            )


def write_prompts(path: Path, made: Made, prompts: range) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for p, lang in itertools.product(prompts, made.langs):
            at = p * 100 % 10**7
            text = f"{name(p)} {lang}: {made.corpus[at : at + 120]}?"
            file.write(f'{{"id": "{name(p)}", "lang": "{lang}", "prompt": "{text}"}}\n')


def name(prompt: int) -> str:
    return f"p{prompt:06d}"


def seal(folder: Path, made: Made) -> None:
    """The answers and rewards as finished stages of the recipe's run."""
    from croco import pipeline, recipe_file
    from croco.runs import Run
    from croco.stage import shard_of

    run = Run(folder / "home", recipe_file.load(folder / "recipe.yaml"))
    stages = pipeline.build(run.recipe)
    langs, prompts, n = made.length.shape
    rows = max(1, int(PIECE_BYTES / (made.length.mean() * n * UNPACKED)))
    homes = np.array([shard_of(name(p), run.recipe.shards) for p in range(prompts)])
    for stage in (stages["sample"], stages["score"]):
        artifact = run.store.artifact(stage)
        artifact.describe(stage.recipe, {})
        for shard in range(artifact.shards):
            keys = [(k, p) for p in np.flatnonzero(homes == shard) for k in range(langs)]
            pieces = (keys[at : at + rows] for at in range(0, len(keys), rows))
            artifact.seal_tables(shard, (table(stage.record, made, piece) for piece in pieces))


#: What stands in each column, of a language and a prompt by their places.
COLUMNS: dict[str, Callable[[Made, int, int], Any]] = {
    "id": lambda made, k, p: name(p),
    "lang": lambda made, k, p: made.langs[k],
    "prompt_ids": lambda made, k, p: list(range(30)),
    "texts": lambda made, k, p: made.texts(k, p),
    "token_ids": lambda made, k, p: made.token_ids(k, p),
    "finish_reasons": lambda made, k, p: ["stop"] * made.length.shape[2],
    "policy": lambda made, k, p: "fake@1",
    "rewards": lambda made, k, p: made.reward[k, p],
    "parts": lambda made, k, p: [],
}


def table(record: type, made: Made, keys: list[tuple[int, int]]) -> pa.Table:
    import pyarrow as pa

    from croco.schemas import schema

    form = schema(record)
    return pa.table({c: [COLUMNS[c](made, *at) for at in keys] for c in form.names}, schema=form)


def plain(args: argparse.Namespace) -> None:
    """The rival: everything in memory, in the plainest way."""
    prompts = prompts_of(args.folder)
    pools: dict[tuple[str, str], list[Row]] = {}
    for path in sorted(args.folder.glob("responses-*.jsonl")):
        for row in read(path):
            pools.setdefault((row["id"], row["lang"]), []).append(row)
    lines: dict[str, list[str]] = {}
    for id, lang in sorted(pools):
        pair = contrast(prompts[id, lang], pools[id, lang])
        if pair:
            lines.setdefault(lang, []).append(json.dumps(pair, ensure_ascii=False) + "\n")
    args.out.mkdir(parents=True, exist_ok=True)
    for lang, own in lines.items():
        (args.out / f"pairs-{lang}.jsonl").write_text("".join(own), encoding="utf-8")


def read(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def prompts_of(folder: Path) -> dict[tuple[str, str], str]:
    return {(row["id"], row["lang"]): row["prompt"] for row in read(folder / "prompts.jsonl")}


def contrast(prompt: str, rows: list[Row]) -> Row | None:
    values = np.array([row["reward"] for row in rows])
    lower = values < values.max()
    if not lower.any():
        return None
    away = np.where(lower, abs(values - (values.mean() - 2 * values.std())), np.inf)
    chosen, rejected = (rows[k]["response"] for k in (values.argmax(), away.argmin()))
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }


def measure(args: argparse.Namespace) -> None:
    """The subcommand: rounds of all systems, their ratios, and whether their pairs are the same."""
    systems = {k: v for k, v in commands(args.folder).items() if k in args.only.split(",")}
    rounds: dict[str, list[Row]] = {system: [] for system in systems}
    for system, k in itertools.product(systems, range(args.rounds + 1)):
        for path in args.folder.glob("home/store/pair-*" if system == "shards" else system):
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)
        found = timed(systems[system])
        if k:  # the first run brings the files into the page cache
            rounds[system].append(found)
    measured = {s: {key: [one[key] for one in own] for key in own[0]} for s, own in rounds.items()}
    result = {
        "settings": json.loads((args.folder / "settings.json").read_text()),
        "bytes": {
            "jsonl": sum(p.stat().st_size for p in args.folder.glob("responses-*.jsonl")),
            "shards": sum(p.stat().st_size for p in args.folder.glob("home/store/s*/*.parquet")),
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores,"
        f" Python {platform.python_version()}, pyarrow {metadata.version('pyarrow')}",
        **measured,
        "plain_over": {
            system: {key: ratio(measured["plain"][key], own[key]) for key in own}
            for system, own in measured.items()
            if system != "plain" and "plain" in measured
        },
        "pairs": compared(args.folder, list(systems)),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


def commands(folder: Path) -> dict[str, list[str]]:
    answers = [str(path) for path in sorted(folder.glob("responses-*.jsonl"))]
    pair = ["pair", *answers, "--prompts", str(folder / "prompts.jsonl")]
    return {
        "shards": croco_run(folder, "pair"),
        "jsonl": [sys.executable, "-m", "croco", *pair, "-o", str(folder / "jsonl")],
        "plain": [sys.executable, __file__, "plain", str(folder), "--out", str(folder / "plain")],
    }


def croco_run(folder: Path, until: str) -> list[str]:
    verb = ["run", str(folder / "recipe.yaml"), "--home", str(folder / "home"), "--until", until]
    return [sys.executable, "-m", "croco", *verb]


def timed(command: list[str]) -> Row:
    """A child's wall and CPU seconds and its peak memory, once earlier writes are on disk."""
    os.sync()
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.monotonic() - start
    child.returncode = os.waitstatus_to_exitcode(status)  # else it would be waited for again
    if child.returncode:
        sys.exit(f"exit code {child.returncode}: {' '.join(command)}")
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    cpu = used.ru_utime + used.ru_stime
    return {"seconds": round(seconds, 2), "cpu": round(cpu, 2), "peak_mb": round(peak / 1e6)}


def ratio(rival: list[float], own: list[float]) -> Row:
    ratios = [round(a / b, 2) for a, b in zip(rival, own, strict=True)]
    found = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
    return {"rounds": ratios} | found


def compared(folder: Path, systems: list[str]) -> Row:
    """How many pairs there are, and whether every pool's are the same in all systems.

    No rewards tie and no text stands twice in a pool, so equal texts are equal rewards.
    """
    found = {s: dict(sealed(folder) if s == "shards" else written(folder / s)) for s in systems}
    same = all(own == found[systems[0]] for own in found.values())
    return {"count": {system: len(own) for system, own in found.items()}, "same": same}


def written(path: Path) -> Iterator[tuple[str, int]]:
    """Each pair's prompt and a hash of its sides, from JSON Lines of messages."""
    for file in path.glob("pairs-*.jsonl"):
        for row in read(file):
            prompt, *sides = (row[key][-1]["content"] for key in ("prompt", "chosen", "rejected"))
            yield prompt, hash(tuple(sides))


def sealed(folder: Path) -> Iterator[tuple[str, int]]:
    """The same from the shards of the pair stage."""
    import pyarrow.parquet as pq

    prompts = prompts_of(folder)
    for path in folder.glob("home/store/pair-*/shard-*.parquet"):
        for batch in pq.ParquetFile(path).iter_batches(1000, columns=["id", "lang", "pairs"]):
            for row in batch.to_pylist():
                for pair in row["pairs"]:
                    sides = (pair[key]["text"] for key in ("chosen", "rejected"))
                    yield prompts[row["id"], row["lang"]], hash(tuple(sides))


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    verbs = parser.add_subparsers(dest="verb", required=True)
    making, rival, timing = (verbs.add_parser(verb) for verb in ("data", "plain", "measure"))
    for one in (making, rival, timing):
        one.add_argument("folder", type=Path, metavar="DIR")
    making.add_argument("--prompts", type=int, required=True)
    defaults = {"languages": 7, "n": 64, "chars": 1400, "seed": 0, "shards": None}
    for key, default in defaults.items():
        making.add_argument(f"--{key}", type=int, default=default)
    rival.add_argument("--out", type=Path, required=True)
    timing.add_argument("--rounds", type=int, default=3)
    timing.add_argument("--only", default="shards,jsonl,plain")
    timing.add_argument("--out", type=Path)
    args = parser.parse_args()
    {"data": data, "plain": plain, "measure": measure}[args.verb](args)


if __name__ == "__main__":
    main()
