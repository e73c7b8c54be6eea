"""The way of the data where answers exist already: two sides' answers, judged, and a report."""

from __future__ import annotations

from croco.answers import refer_beside, refer_rows
from croco.building import stage_of
from croco.evaluating import judged, spoken
from croco.recipe import Comparison
from croco.records import Metric, Prompt, Responses
from croco.stage import Stage
from croco.stages import answers, compare


def build_comparison(recipe: Comparison) -> dict[str, Stage]:
    """The stages of a comparison by name, each after its inputs."""
    sides, languages, shards = recipe.compare, recipe.languages, recipe.shards
    files = {
        "base": refer_rows(sides.base, recipe.folder),
        "tuned": refer_rows(sides.tuned, recipe.folder),
    }
    known = [
        *refer_rows(sides.prompts, recipe.folder),
        *refer_beside([*sides.base, *sides.tuned], recipe.folder),
    ]
    asked = answers.PromptsConfig(
        **files, prompts=list({file.path: file for file in known}.values()), languages=languages
    )
    prompts = stage_of(recipe, "prompts", answers.prompts, asked, Prompt, {}, shards=shards)
    base, tuned = (
        stage_of(
            recipe,
            f"{side}.answers",
            answers.answers,
            answers.Config(files=own, languages=languages, reasoning=sides.reasoning),
            Responses,
            {},
            shards=shards,
        )
        for side, own in files.items()
    )
    verdicts = judged(recipe, "tuned", prompts, base, tuned)
    spoken_by = [spoken(recipe, "base", base), spoken(recipe, "tuned", tuned)]
    named = {one.name: one for one in (prompts, base, tuned, *spoken_by, verdicts)}
    config = compare.Config(
        recipe=recipe.model_dump(mode="json", exclude={"resources", "executor"})
    )
    report = stage_of(recipe, "report", compare.report, config, Metric, named)
    return named | {"report": report}
