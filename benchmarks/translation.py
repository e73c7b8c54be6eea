"""What the checks say of Apertium's translations of the bundled English prompts.

Per language and identifier: how many translations fail which check at several thresholds for the
language's share, and how many prompts in a wrong language (the bundled ones in neighbouring languages,
and English itself) would pass the language check.

    python benchmarks/translation.py --out benchmarks/results/translation.json
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import Counter
from pathlib import Path

from croco import translation
from croco.datafiles import read_prompts, refer
from croco.languages import load_identifier
from croco.settings import Checks, Resources, Translate
from croco.translation import Text
from croco.translation.checks import failed_checks
from croco.translation.spans import prose

#: Languages that a target may be taken for, of those that the bundled prompts exist in.
NEIGHBOURS = {"es": ["en", "pt", "it"], "gl": ["en", "es", "pt"], "ca": ["en", "es", "it", "fr"]}
THRESHOLDS = (0.5, 0.3, 0.1, 0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--identifiers", nargs="+", default=["py3langid", "heliport"])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    files = [refer(f"bundled:prompts-{part}.jsonl", Path()) for part in ("train", "heldout")]
    rows = read_prompts(files)
    english = [row.prompt for row in rows if row.lang == "en"]
    translator = translation.load(Translate(translator="apertium"), Resources())
    asked = [
        Text((lang, k), "en", lang, text) for lang in NEIGHBOURS for k, text in enumerate(english)
    ]
    done = {one.of.key: one for part in translator.translate([asked]) for one in part}
    result = {"prompts": len(english), "languages": {}}
    for lang, neighbours in NEIGHBOURS.items():
        own = [done[lang, k] for k in range(len(english))]
        words = sum(len(one.text.split()) for one in own)
        result["languages"][lang] = {
            "errors": sum(one.error is not None for one in own),
            "with_unknown_words": sum(bool(one.unknown) for one in own),
            "unknown_words": sum(len(one.unknown) for one in own),
            "words": words,
            "length_ratio": round(
                statistics.median(len(a.text) / len(b) for a, b in zip(own, english, strict=True)),
                2,
            ),
            "identifiers": {
                name: counts(name, lang, english, own, {n: texts(rows, n) for n in neighbours})
                for name in args.identifiers
            },
        }
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


def texts(rows, lang: str) -> list[str]:
    return [row.prompt for row in rows if row.lang == lang]


def counts(name: str, lang: str, english: list[str], own: list, wrong: dict) -> dict:
    identifier = load_identifier(name)
    found = {}
    for threshold in THRESHOLDS:
        checks = Checks(identifier=name, threshold=threshold)

        def failed(source: str, text: str, unknown: int, checks: Checks = checks) -> list[str]:
            ranking = identifier.identify([prose(text)])[0]
            return list(failed_checks(checks, source, text, "en", lang, ranking, unknown))

        fails = [
            failed(source, one.text, len(one.unknown))
            for source, one in zip(english, own, strict=True)
        ]
        found[str(threshold)] = {
            "failed": sum(map(bool, fails)),
            "checks": dict(Counter(label for labels in fails for label in labels)),
            "wrong_language_passed": {
                other: sum("language" not in failed(t, t, 0) for t in some)
                for other, some in wrong.items()
            },
        }
    return found


if __name__ == "__main__":
    main()
