"""`croco pair`: pairs from files of scored responses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from croco.errors import RecipeError
from croco.reasoning import KNOWN, Markers

Responses = Annotated[
    list[Path], typer.Argument(metavar="RESPONSES...", help="JSON Lines or Parquet files.")
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where pairs are written.")]
Prompts = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="PROMPTS...", help="Files of id, lang, prompt; may be given several times."
    ),
]
SCOPE = "monolingual: a pool per prompt and language; multilingual: a pool per prompt."
REJECTED = "mean-2std (any mean+-k std), q1, quantile-P, min, median or random."
#: Options without a value.
FLAGS = ("--sft", "--strict", "--help")
TREATMENT = "drop, only-as-rejected or off"


def pair(
    responses: Responses,
    out: Out,
    prompts: Prompts = None,
    scope: Annotated[str, typer.Option(help=SCOPE)] = "monolingual",
    rejected: Annotated[str, typer.Option(help=REJECTED)] = "mean-2std",
    chosen: Annotated[str, typer.Option(help="max, top-K or quantile-P.")] = "max",
    pairs_per_pool: Annotated[int, typer.Option(help="Pairs of each pool at most.")] = 1,
    prompt_language: Annotated[
        str, typer.Option(help="Whose language the prompt is shown in: chosen, rejected, random.")
    ] = "chosen",
    normalise: Annotated[
        str, typer.Option(help="Rewards across languages: none, zscore, rank or reference.")
    ] = "none",
    seed: Annotated[int, typer.Option(help="For what is drawn at random.")] = 42,
    format: Annotated[str, typer.Option(help="jsonl or parquet.")] = "jsonl",
    sft: Annotated[bool, typer.Option("--sft", help="Write the best responses too.")] = False,
    lang: Annotated[
        str | None, typer.Option(metavar="TAG", help="The language of rows that name none.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="The model to be tuned: its responses are on-policy.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Unusable and unmatched rows are errors.")
    ] = False,
    cut_off: Annotated[
        str, typer.Option(help=f"Responses with finish_reason length: {TREATMENT}.")
    ] = "only-as-rejected",
    empty: Annotated[str, typer.Option(help=f"Empty responses: {TREATMENT}.")] = "drop",
    wrong_language: Annotated[
        str, typer.Option(help=f"Responses in another language than asked: {TREATMENT}.")
    ] = "off",
    identifier: Annotated[
        str, typer.Option(help="What tells the language: py3langid, heliport or module:Class.")
    ] = "py3langid",
    threshold: Annotated[
        float, typer.Option(help="The smallest share of the asked language.")
    ] = 0.5,
    near_duplicates: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Drop responses that are this much alike.")
    ] = None,
    min_gap: Annotated[float, typer.Option(help="The smallest reward gap of a pair.")] = 0.0,
    max_length_ratio: Annotated[
        float | None, typer.Option(metavar="RATIO", help="Longer over shorter side, at most.")
    ] = None,
    reasoning: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OPEN...CLOSE",
            help="What encloses reasoning, such as '<plan>...</plan>'; none: nothing does."
            " Default: the well-known markers.",
        ),
    ] = None,
) -> None:
    """Build preference pairs from scored responses of your own.

    A row of RESPONSES is one response (id, lang, response, reward; or messages and reward_score), or
    all of a prompt (responses, rewards). Pairs are written as TRL's conversational preference format
    takes them, with summary.json, pools.parquet, and what was left out and why.
    """
    from croco.pairing.files import Options, pair_files
    from croco.pairing.output import tables_in
    from croco.progress import Reporter

    filters = {
        "cut_off": cut_off,
        "empty": empty,
        "wrong_language": wrong_language,
        "identifier": identifier,
        "threshold": threshold,
        "near_duplicates": near_duplicates,
        "min_gap": min_gap,
        "max_length_ratio": max_length_ratio,
    }
    config = _config(
        scope=scope,
        rejected=rejected,
        chosen=chosen,
        pairs_per_pool=pairs_per_pool,
        prompt_language=prompt_language,
        normalise=normalise,
        filters=filters,
    )
    if format not in ("jsonl", "parquet"):
        raise RecipeError(f"--format {format!r} is not known: use jsonl or parquet")
    options = Options(
        seed,
        format,  # type: ignore[arg-type]
        lang,
        policy,
        sft,
        strict,
        markers=_markers(reasoning),
    )
    with Reporter() as reporter:
        summary = pair_files(
            responses,
            out,
            prompts=prompts or (),
            config=config,
            options=options,
            notify=reporter.notify,
        )
    for line in _in_words(summary):
        typer.echo(line, err=True)
    for path in tables_in(out, "pairs", "sft"):
        typer.echo(path)


def _markers(given: list[str] | None) -> Markers:
    """The markers that `--reasoning` names; RecipeError where it is not of the form OPEN...CLOSE."""
    if not given:
        return KNOWN
    if given == ["none"]:
        return []
    found = [one.split("...") for one in given]
    for one, parts in zip(given, found, strict=True):
        if len(parts) != 2 or not all(parts) or parts[0] == parts[1]:
            raise RecipeError(f"--reasoning {one!r} is not of the form OPEN...CLOSE, nor none")
    return [(opening, closing) for opening, closing in found]


def several(arguments: Sequence[str]) -> list[str]:
    """The arguments of `croco pair` with `--prompts a b` as `--prompts a --prompts b`.

    So a shell's `*` may follow it. It takes all values up to the next option where responses stand
    before it, else one: the others are then the responses.
    """
    spread: list[str] = []
    named, values, option = 0, 0, ""
    for one in arguments:
        if re.match(r"-(?!\.?\d)", one):  # a negative number is a value
            complete = one in FLAGS or "=" in one or re.match(r"-\w.", one)
            option, values = "" if complete else one, 0
        elif option == "--prompts" and (values == 0 or named > 1):
            spread += ["--prompts"] * (values > 0)
            values += 1
        elif option and values == 0:
            values = 1  # of another option
        else:
            named, option = named + 1, ""  # the verb itself is the first
        spread.append(one)
    return spread


def _config(**values: Any) -> Any:
    """The pairing that some options ask for; RecipeError names the option that is wrong."""
    import pydantic

    from croco.languages import IDENTIFIERS
    from croco.plugins import check_name
    from croco.recipe import PairConfig

    try:
        config = PairConfig(**values)
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        option = str(problem["loc"][-1]) if problem["loc"] else "normalise"
        message = problem["msg"].removeprefix("Value error, ")
        raise RecipeError(
            f"--{option.replace('_', '-')}: {message[0].lower()}{message[1:]}"
            f" (got {(values | values['filters'])[option]!r})"
        ) from error
    check_name(config.filters.identifier, IDENTIFIERS, "--identifier")
    return config


def _in_words(summary: dict[str, Any]) -> list[str]:
    """The summary as people read it."""
    responses, pools = summary["responses"], summary["pools"]
    reasoning = responses["reasoning"]
    lines = [
        f"{summary['pairs']['made']:,} pairs of {pools['made']:,} pools,"
        f" {responses['used']:,} responses"
    ]
    share = pools["fallback"] / pools["made"]
    if pools["fallback"]:
        lines.append(
            f"  the rejected target lay below every reward in {share:.0%} of the pools: there rejected"
            " is the minimum"
        )
    lines += [f"  {n:,} pools without a pair: {why}" for why, n in pools["why_no_pair"].items()]
    lines += [f"  {n:,} pairs refused: {why}" for why, n in summary["pairs"]["refused"].items()]
    lines += [f"  {n:,} responses filtered: {why}" for why, n in responses["filtered"].items()]
    if untold := responses["cannot_tell_language"]:
        lines.append(f"  {untold:,} responses whose language cannot be told, not filtered")
    lines += [f"  {n:,} rows refused: {why}" for why, n in responses["refused"].items()]
    if reasoning["separated"]:
        lines.append(
            f"  {reasoning['separated']:,} responses with reasoning, which is no part of the answer; in"
            f" {reasoning['unclosed']:,} it does not end"
        )
    if responses["without_prompt"]:
        lines.append(f"  {responses['without_prompt']:,} responses without a prompt")
    if summary["prompts"]["refused"]:
        lines.append(
            f"  {summary['prompts']['refused']:,} rows of --prompts refused: refused.jsonl says why"
        )
    if summary["prompts"]["without_responses"]:
        lines.append(f"  {summary['prompts']['without_responses']:,} prompts without responses")
    if summary["prompts"]["standing_twice"]:
        lines.append(
            f"  {summary['prompts']['standing_twice']:,} rows of --prompts repeat a prompt"
        )
    if shares := summary["on_policy"]:
        said = ", ".join(f"{shares[side] or 0:.0%} of the {side}" for side in list(shares)[1:])
        lines.append(f"  written by {shares['policy']}: {said}")
    return lines
