"""How often a text's language cannot be told, and what that costs: right texts and wrong ones.

Needs a folder of data, given by `--data`. "Before" is an identifier that is asked
about whole texts, with the share below one half (as the gate and the filters judge) or another language
as the likeliest (as fidelity does); "now" is `croco.spoken`.

    python benchmarks/cannot_tell.py --data DATA --out benchmarks/results/cannot_tell.json
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from croco.languages import load_identifier, same_language
from croco.spoken import Spoken, hear

LANGUAGES = "cy da de en es fi fr ga gl it mt nl no pt sv".split()  # noqa: SIM905
IDENTIFIERS = ("py3langid", "heliport")
#: Letters that a text of the measurement has at least, and the threshold of the gate and the filters.
LETTERS, THRESHOLD = 20, 0.5
#: MT-Bench's coding prompts: their answers may be programs, which are in no language.
CODING = range(121, 131)


@dataclass(frozen=True, slots=True)
class Text:
    """A text of a source that was asked for, or is written, in a language."""

    source: str
    lang: str
    text: str
    answer: bool
    coding: bool = False

    @property
    def long(self) -> bool:
        return sum(map(str.isalpha, self.text)) >= LETTERS


@dataclass(frozen=True, slots=True)
class Heard:
    """What an identifier said before (share and likeliest language) and says now."""

    share: float
    likeliest: str
    now: Spoken

    def gated(self) -> bool:
        return self.share < THRESHOLD


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    texts = [one for one in read(args.data) if one.long]
    heard = {name: listened(texts, [t.lang for t in texts], name) for name in IDENTIFIERS}
    other = [LANGUAGES[(place(text.lang) + 1 + k % 14) % 15] for k, text in enumerate(texts)]
    swapped = {name: listened(texts, other, name) for name in IDENTIFIERS}
    found = {
        "texts": dict(Counter(text.source for text in texts)),
        "right": right(texts, heard),
        "wrong": {name: wrong(texts, heard, name) for name in IDENTIFIERS},
        "asked_in_another_language": {name: caught(own) for name, own in swapped.items()},
    }
    print(json.dumps(found, indent=1))
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


def place(lang: str) -> int:
    return LANGUAGES.index(lang) if lang in LANGUAGES else 0


def read(data: Path) -> Iterator[Text]:
    """All texts: prompts and sentences of known language, and models' answers."""
    for lang in LANGUAGES:
        for row in rows(data / "parallel_prompts" / f"{lang}.jsonl"):
            yield Text(row["id"].partition(":")[0], lang, row["prompt"], answer=False)
        for row in rows(data / "parallel_sentences" / "sib200" / f"{lang}.jsonl"):
            yield Text("sib200", lang, row["text"], answer=False)
    confusion = data / "language_confusion"
    for row in rows(confusion / "prompts_monolingual.jsonl"):
        yield Text("language confusion prompts", row["lang"], row["prompt"], answer=False)
    for row in rows(confusion / "completions_monolingual.jsonl"):
        yield Text("language confusion", row["lang"], row["completion"], answer=True)
    for path in sorted((data / "verifiable" / "truthfulqa_multi").glob("*.jsonl")):
        for row in rows(path):
            yield Text("truthfulqa", row["lang"], row["chosen"], answer=False)
    for path in sorted((data / "mt_bench" / "answers_turn1").glob("*.jsonl")):
        for row in rows(path):
            yield Text("mt-bench", row["lang"], row["response"], True, int(row["id"]) in CODING)
    for path in sorted((data / "m_arena_hard_answers").glob("*.jsonl")):
        for row in rows(path):
            yield Text("m-arena-hard", row["lang"], row["response"], answer=True)


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def listened(texts: Sequence[Text], langs: Sequence[str], name: str) -> list[Heard]:
    identifier = load_identifier(name)
    rankings = identifier.identify([text.text for text in texts])
    now = hear([text.text for text in texts], langs, identifier)
    return [
        Heard(sum(s for tag, s in own if same_language(tag, lang)), own[0][0], said)
        for own, lang, said in zip(rankings, langs, now, strict=True)
    ]


def right(texts: Sequence[Text], heard: dict[str, list[Heard]]) -> dict:
    """Of right texts: per cent that cannot be told, and that are called wrong before and now.

    A prompt or sentence is right. An answer is where one identifier at least names the asked language.
    """
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for k, text in enumerate(texts):
        named = any(same_language(own[k].likeliest, text.lang) for own in heard.values())
        if named or not text.answer:
            for group in ("all", text.source, f"language {text.lang}"):
                groups[group].append(k)
    return {
        group: {
            "texts": len(own),
            "cannot_tell": percent(heard[IDENTIFIERS[0]][k].now.right is None for k in own),
        }
        | {name: errors([heard[name][k] for k in own], texts, own) for name in heard}
        for group, own in groups.items()
    }


def errors(own: Sequence[Heard], texts: Sequence[Text], places: Sequence[int]) -> dict:
    langs = [texts[k].lang for k in places]
    return {
        "gate_before": percent(one.gated() for one in own),
        "gate_now": percent(one.now.reaches(THRESHOLD) is False for one in own),
        "likeliest_before": percent(
            not same_language(one.likeliest, lang) for one, lang in zip(own, langs, strict=True)
        ),
        "likeliest_now": percent(one.now.right is False for one in own),
    }


def wrong(texts: Sequence[Text], heard: dict[str, list[Heard]], name: str) -> dict:
    """Answers that both identifiers place in one other language and the gate caught: per cent caught now.

    Once without the answers to MT-Bench's coding prompts, and once with them.
    """
    first, second = (heard[one] for one in IDENTIFIERS)
    real = [
        k
        for k, text in enumerate(texts)
        if text.answer
        and heard[name][k].gated()
        and not same_language(first[k].likeliest, text.lang)
        and same_language(first[k].likeliest, second[k].likeliest)
    ]
    plain = [k for k in real if not texts[k].coding]
    return {
        "answers": len(plain),
        "still_caught": percent(heard[name][k].now.reaches(THRESHOLD) is False for k in plain),
        "with_coding_prompts": len(real),
        "still_caught_with_coding_prompts": percent(
            heard[name][k].now.reaches(THRESHOLD) is False for k in real
        ),
    }


def caught(own: Sequence[Heard]) -> dict:
    """Texts asked for in a language that they are not in: per cent of the caught that still are."""
    before = [one for one in own if one.gated()]
    return {
        "texts": len(own),
        "caught_before": len(before),
        "still_caught": percent(one.now.reaches(THRESHOLD) is False for one in before),
    }


def percent(flags: Iterator[bool]) -> float | None:
    found = list(flags)
    return round(100 * sum(found) / len(found), 2) if found else None


if __name__ == "__main__":
    main()
