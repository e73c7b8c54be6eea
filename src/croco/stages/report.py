"""The report: the figures of all arms, as rows, as `summary.json` and as one HTML page."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from croco import yamls
from croco.examples import trained_on
from croco.metrics import compare
from croco.pairing.doctor import diagnose
from croco.pairing.exams import of_rows
from croco.pairing.reasons import of_arm
from croco.pairing.verdicts import verdicts
from croco.provenance import provenance
from croco.recipe import PairConfig
from croco.records import MULTIPLE, UNTRAINED, Metric, Pairs, Prompt
from croco.report import contamination, escapes
from croco.report.audit import audit_part, left_out_part
from croco.report.benchmark import benchmark
from croco.report.forgetting import forgetting
from croco.report.independence import judge_in_words, shared_sources
from croco.report.judged import comparisons_part
from croco.report.languages import languages_part
from croco.report.page import Pairing, Report, StageRows, Triple, delta, page
from croco.report.parts import Part
from croco.report.plots import Pool
from croco.report.summary import summary
from croco.report.training import training
from croco.report.translation import translation_counts
from croco.settings import Section
from croco.stage import Context, Sealed
from croco.stages.judgments import EXAMPLES, answered, arm_of, examples
from croco.stages.tuned_on import Round, rounds_of

#: Pools drawn per language and arm.
POOLS = 200
#: The stages that translate, where a run does.
TRANSLATED = ("translate-train", "translate-heldout")
#: Stages whose rows are prompts' rows: what is made and missing of them is counted.
COUNTED = {"prompts", "sample", "score", "pair", "encode", "reference", "language", "judge"}
COUNTED |= {"sentences", "loss"}
#: An average's language -> over what it is, in words.
AVERAGES = {MULTIPLE: "languages", UNTRAINED: "languages that were not trained"}
#: The metrics that the result names.
NAMED = ("win_rate", "win_rate_in_language", "language_fidelity")
#: Given the sealed stages by name and the recipe, a part, or None where the run has nothing of the kind.
PARTS: list[Callable[[Mapping[str, Sealed], dict[str, Any]], Part | None]] = [
    languages_part,
    audit_part,
    left_out_part,
    benchmark,
    forgetting,
    training,
    contamination.contamination,
    escapes.escapes,
]


class Config(Section):
    """The resolved recipe, which the page shows."""

    recipe: dict[str, Any]


def report(config: Config, context: Context) -> list[Metric]:
    """All metrics; the page and the summary are the stage's files."""
    inputs, arms = context.inputs, list(config.recipe["arms"])
    seed = config.recipe["seed"]
    base = answered(inputs, "base", "sample")
    trained = config.recipe["languages"]
    wanted = sorted({*trained, *config.recipe["evaluate"]["languages"]})
    judged = {arm: arm_of(inputs, arm, base, "sample", seed, trained, wanted) for arm in arms}
    metrics = [
        row
        for arm, own in judged.items()
        for row in compare(arm, own.figures, base, own.tuned, seed, trained, wanted)
    ]
    translations = [one for name in TRANSLATED for one in _translation(inputs, name)]
    usage = _usage(inputs)
    rows = {arm: own.rows for arm, own in judged.items()}
    parts = [comparisons_part(rows, {arm: own.figures for arm, own in judged.items()}, seed)]
    parts += [part for make in PARTS if (part := make(inputs, config.recipe))]
    asked = list(_asked(inputs, "heldout").rows())
    rounds = rounds_of(inputs, config.recipe["arms"])
    made = Report(
        name=config.recipe["name"],
        seed=seed,
        result=_in_words(metrics),
        metrics=metrics,
        curves={one.name: one.curve for one in rounds},
        pools={one.name: list(_pools(one)) for one in rounds},
        rows=_rows(inputs),
        pairing=[_pairing(one) for one in rounds],
        diagnoses=_diagnoses(config.recipe, rounds),
        triples=_triples(inputs, rounds),
        answers=[answer for own in judged.values() for answer in examples(own, asked)],
        recipe=yamls.dump(config.recipe),
        provenance=provenance(),
        notes=_notes(config.recipe),
        translations=translations,
        sections=[part.section for part in parts if part.section],
    )
    (context.files / "index.html").write_text(page(made), encoding="utf-8")
    found = summary(metrics) | {"translation": translations, "usage": usage}
    found |= {part.key: part.figures for part in parts}
    judge = config.recipe["evaluate"]["judge"]
    found |= {"judge_shares_with_reward": shared_sources(judge, config.recipe["reward"])}
    figures = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    (context.files / "summary.json").write_text(figures + "\n", encoding="utf-8")
    return metrics


def _in_words(metrics: list[Metric]) -> str:
    """One sentence per arm: its average win rate and language fidelity against the base; and one more
    where languages were evaluated that were not trained."""
    found = {(row.arm, row.lang, row.metric): row for row in metrics if row.lang in AVERAGES}
    sentences = []
    for arm, lang in dict.fromkeys((row.arm, row.lang) for row in found.values()):
        win, own, fidelity = (found.get((arm, lang, metric)) for metric in NAMED)
        if win is None or fidelity is None:  # rows may fail, all of them too
            continue
        wins = f"the tuned policy wins {win.tuned:.2f} of comparisons with the base ({delta(win)} from 0.5)"
        spoken = (
            f"answers in the prompt's language in {fidelity.tuned:.2f} of cases where the base does in"
            f" {fidelity.base:.2f} ({delta(fidelity)})"
        )
        count = f"{win.n} answers to {win.prompts} held-out prompts."
        wins += _among(own) if own and own.languages == win.languages else ""
        if win.languages == fidelity.languages:
            sentences.append(f"{arm}: averaged over {_over(win)}, {wins} and {spoken}; {count}")
        else:  # a sentence for each, since they are not of the same languages
            sentences.append(f"{arm}: averaged over {_over(win)}, {wins}; {count}")
            sentences.append(f"{arm}: averaged over {_over(fidelity)}, it {spoken}.")
    return " ".join(sentences)


def _among(own: Metric) -> str:
    return f", {own.tuned:.2f} of those in which both answer in the prompt's language"


def _over(row: Metric) -> str:
    """Over which languages an average is, by name where some of those that were asked for are lacking."""
    if not row.lacking:
        return AVERAGES[row.lang]
    return f"{', '.join(row.languages)} (nothing is known in {', '.join(row.lacking)})"


def _pools(one: Round) -> Iterator[Pool]:
    """The rewards of the first pools of each language, with what was chosen and rejected."""
    drawn: Counter[str] = Counter()
    for row, rewards in one.pools():
        sides = defaultdict(lambda: ([], []))  # type: ignore[var-annotated]
        for pair in row.pairs:
            sides[pair.chosen.lang][0].append(pair.chosen.reward)
            sides[pair.rejected.lang][1].append(pair.rejected.reward)
        for lang in rewards if row.lang == MULTIPLE else [row.lang]:
            drawn[lang] += 1
            if drawn[lang] <= POOLS:
                yield Pool(lang, rewards[lang], *sides[lang])


def _rows(inputs: Mapping[str, Sealed]) -> list[StageRows]:
    return [
        StageRows(name, sum(1 for _ in sealed.rows()), *_missing(sealed))
        for name, sealed in inputs.items()
        if name.rpartition(".")[2].partition("-")[0] in COUNTED
    ]


def _translation(inputs: Mapping[str, Sealed], name: str) -> list[dict[str, Any]]:
    """What a translation stage made, per language; nothing where the run translates nothing."""
    if name not in inputs:
        return []
    sealed = inputs[name]
    failed = [one for shard in range(sealed.shards) for one in sealed.failed(shard)]
    return translation_counts(name, sealed.rows(), failed)


def _usage(inputs: Mapping[str, Sealed]) -> dict[str, dict[str, int]]:
    """The tokens that a server counted for sampling; of stages without a server nothing."""
    found: dict[str, dict[str, int]] = {}
    for name in inputs:
        if name == "sample" or name.endswith(".sample-train"):
            rows = list(inputs[name].rows())
            counts = {
                "prompt_tokens": sum(row.prompt_tokens for row in rows),
                "completion_tokens": sum(row.completion_tokens for row in rows),
            }
            found |= {name: counts} if any(counts.values()) else {}
    return found


def _missing(sealed: Sealed) -> tuple[int, dict[str, int]]:
    failed = [failure for shard in range(sealed.shards) for failure in sealed.failed(shard)]
    return len(failed), dict(Counter(failure.error for failure in failed))


def _pairing(one: Round) -> Pairing:
    rows: list[Pairs] = list(one.pairs())
    return Pairing(
        one.name,
        f"{one.arm['pair']['rejected']}, {one.arm['pair']['scope']}",
        len(rows),
        sum(len(row.pairs) for row in rows),
        sum(row.fallback for row in rows),
        dict(Counter(row.reason for row in rows if row.reason)),
        dict(Counter(barred.reason for row in rows for barred in row.barred)),
        dict(Counter(reason for row in rows for reason in row.refused)),
        sum(row.top is not None for row in rows),
        untold=sum(row.untold for row in rows),
    )


def _diagnoses(recipe: dict[str, Any], rounds: list[Round]) -> list[dict[str, Any]]:
    """What the pair doctor says of every pairing; rounds of the same pairing are one."""
    same: dict[str, list[Round]] = {}
    for one in rounds:
        same.setdefault(one.pairing, []).append(one)
    found = []
    for alike in same.values():
        names = ", ".join(one.name for one in alike)
        config = PairConfig(**alike[0].arm["pair"])
        exam = of_rows(names, config, alike[0].pairs(), alike[0].policy or None)
        arm = alike[0].name.partition(",")[0]
        exam = dataclasses.replace(exam, words=of_arm(recipe, arm))
        diagnosis = diagnose(exam, recipe["evaluate"]["identifier"], recipe["seed"])
        found.append(diagnosis | {"verdicts": verdicts(diagnosis)})
    return found


def _triples(inputs: Mapping[str, Sealed], rounds: list[Round]) -> list[Triple]:
    """The first dozen examples of each prompt language that every round was trained on."""
    prompts = _texts(_asked(inputs, "train"))
    found = []
    for one in rounds:
        shown: Counter[str] = Counter()
        method = one.arm["train"]["method"]
        for row in one.pairs():
            for pair in trained_on(row, method):
                shown[pair.prompt_lang] += 1
                if shown[pair.prompt_lang] <= EXAMPLES:
                    prompt = prompts[row.id, pair.prompt_lang]
                    rejected = pair.rejected if method == "dpo" else None
                    asked = one.name, row.id, pair.prompt_lang, prompt
                    found.append(Triple(*asked, pair.chosen, rejected))
    return found


def _asked(inputs: Mapping[str, Sealed], which: str) -> Sealed:
    """The prompts as they were asked: translated, where the run translates."""
    return inputs.get(f"translate-{which}") or inputs[f"prompts-{which}"]


def _texts(sealed: Sealed) -> dict[tuple[str, str], str]:
    rows: Iterator[Prompt] = sealed.rows()
    return {row.key: row.prompt for row in rows}


def _notes(recipe: dict[str, Any]) -> list[str]:
    evaluation = recipe["evaluate"]
    return [
        "Intervals are of 95 %, over prompts: all answers to a prompt, in every language where the figure"
        " is an average, count as one draw. Shares have score intervals, other values bootstraps; where a"
        " language has a single prompt, neither it nor an average over it has an interval.",
        f"{_of_judge(evaluation['judge'])} {judge_in_words(evaluation['judge'], recipe['reward'])}",
        _of_identifier(evaluation["identifier"], recipe["reward"]),
        *map(_of_answers, *zip(*recipe["arms"].items(), strict=True)),
    ]


def _of_identifier(identifier: str, reward: dict[str, Any]) -> str:
    same = shared_sources({"kind": "language", "identifier": identifier}, reward)
    more = ", which is the reward's own: it may err where the reward does" if same else ""
    return f"Languages of answers are identified by {identifier}{more}."


def _of_answers(name: str, arm: dict[str, Any]) -> str:
    """Whose answers an arm was tuned on."""
    by, rounds, online = arm.get("responses"), arm.get("rounds"), arm.get("online")
    whose = "the policy's own answers"
    if by:
        whose = f"the answers of {by['policy']}"
    if rounds:
        kept = "before each round" if rounds["reference"] == "moved" else "before the first round"
        whose += f", in {rounds['count']} rounds, each on those of what the last one tuned"
        whose += f" (reference: the policy {kept})" if arm["train"]["method"] == "dpo" else ""
    if online:
        whose += f" in training, sampled every {online['every']} steps"
    return (
        f"{name} was tuned on {whose} to other prompts; no held-out prompt, in any language, is among"
        " them."
    )


def _of_judge(judge: dict[str, Any]) -> str:
    if judge["kind"] == "pairwise":
        return (
            f"The judge ({_named(judge)}) is shown the k-th base and the k-th tuned answer to a prompt, in"
            " both orders."
        )
    return (
        f"The judge ({_named(judge)}) scores every base and every tuned answer to a prompt, and each pair"
        " of them is a comparison; where it has a gate, an answer in another language than the prompt's"
        " loses the penalty."
    )


def _named(config: dict[str, Any]) -> str:
    """A reward's configuration without the keys that are not set."""
    return yamls.dump(_without_none(config), default_flow_style=True, width=10_000).strip()


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(own) for key, own in value.items() if own is not None}
    return value
