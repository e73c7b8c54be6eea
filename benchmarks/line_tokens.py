"""How many characters a token of Chinese and Japanese has, and whether lines count as long as they should.

The language confusion benchmark cuts lines into words by jieba and fugashi; CroCo counts characters.
Needs `jieba`, `fugashi` and `unidic-lite`, which CroCo does not use.

    python benchmarks/line_tokens.py --data DATA
"""

from __future__ import annotations

import argparse
import json
import string
from pathlib import Path

from croco.fidelity import LINE_TOKENS, tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()

    import jieba
    from fugashi import Tagger

    tagger = Tagger("-O wakati")
    cut = {"zh": jieba.lcut, "ja": lambda line: tagger.parse(line).split()}
    path = args.data / "language_confusion" / "prompts_monolingual.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for lang, words in cut.items():
        prompts = [row["prompt"] for row in rows if row["lang"] == lang]
        removed = str.maketrans("", "", string.punctuation)
        lines = [one.translate(removed) for text in prompts for one in text.splitlines()]
        lines = [line for line in lines if line.strip()]
        counts = [sum(bool(word.strip()) for word in words(line)) for line in lines]
        agree = [
            (tokens(line, lang) >= LINE_TOKENS) == (count >= LINE_TOKENS)
            for line, count in zip(lines, counts, strict=True)
        ]
        characters = sum(len("".join(line.split())) for line in lines)
        print(
            f"{lang}: {len(lines)} lines, {characters / sum(counts):.2f} characters a token,"
            f" {sum(agree)} lines are long or short by both"
        )


if __name__ == "__main__":
    main()
