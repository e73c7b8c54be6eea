"""What the reports of runs and of comparisons share: an arm's answers and verdicts, read from stages."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from croco.comparing import Comparison, Judged, Unmet, judged, values_of
from croco.metrics import Answered, comparisons, unmet
from croco.records import Key, Prompt
from croco.report.page import Answers
from croco.stage import Sealed
from croco.stats import mean_of_means

#: What is said of an answer whose language cannot be told.
CANNOT_TELL = "cannot tell"
#: Examples shown per language and arm.
EXAMPLES = 12


@dataclass(frozen=True, slots=True)
class Arm:
    """A side that was judged against the base: its answers, the comparisons, and their figures."""

    name: str
    base: Answered
    tuned: Answered
    rows: list[Comparison]
    figures: dict[str, Judged]


def answered(inputs: Mapping[str, Sealed], side: str, kind: str) -> Answered:
    """A side's answers, of stage `side.kind`, and the languages they are in."""
    return Answered(
        {row.key: row for row in inputs[f"{side}.{kind}"].rows()},
        {row.key: row for row in inputs[f"{side}.language"].rows()},
    )


def arm_of(
    inputs: Mapping[str, Sealed],
    name: str,
    base: Answered,
    kind: str,
    seed: int,
    trained: Collection[str] | None = None,
    asked: Collection[str] = (),
) -> Arm:
    """An arm, with what its judge said of it in the languages that were `asked` for."""
    tuned = answered(inputs, name, kind)
    verdicts = list(inputs[f"{name}.judge"].rows())
    rows = comparisons(verdicts, base, tuned)
    alone = unmet(verdicts, base, tuned)
    figures = judged(rows, seed, trained=trained, asked=asked)
    for scope, found in figures.items():
        counts = [alone.get(lang, (0, 0)) for lang in (*found.languages, *found.lacking)]
        figures[scope] = _with_unmet(found, counts)
    return Arm(name, base, tuned, rows, figures)


def _with_unmet(found: Judged, counts: Sequence[Unmet]) -> Judged:
    """The figures with how many answers were compared with none, which a statement says too."""
    base, tuned = (sum(count[k] for count in counts) for k in range(2))
    if not base and not tuned:
        return found
    note = (
        f"{found.comparisons} comparisons were made; {base} answers of base and {tuned} of tuned met none"
        " and are left out, since the other side has fewer"
    )
    return replace(found, left_out=(base, tuned), notes=[note, *found.notes])


def examples(arm: Arm, asked: Sequence[Prompt]) -> Iterator[Answers]:
    """The first answers of base and tuned to a dozen prompts of each language."""
    prompts = {row.key: row.prompt for row in asked}
    values = values_of(arm.rows)
    for lang, own in values.items():
        for id in islice(own, EXAMPLES):
            key = (id, lang)
            yield Answers(
                arm=arm.name,
                id=id,
                lang=lang,
                prompt=prompts[key],
                base=arm.base.responses[key].texts[0],
                tuned=arm.tuned.responses[key].texts[0],
                win_rate=mean_of_means([own[id]]),
                base_language=_language(arm.base, key),
                tuned_language=_language(arm.tuned, key),
            )


def _language(side: Answered, key: Key) -> str:
    """The language of the first answer to a prompt; nothing where it was not identified."""
    return (side.languages[key].languages[0] or CANNOT_TELL) if key in side.languages else ""
