"""The way of the data where answers exist already: two sides' answers, judged, and a report."""

from __future__ import annotations

from croco.answers import refer_rows
from croco.building import stage_of
from croco.recipe import Comparison
from croco.records import Metric, Prompt
from croco.stage import Stage
from croco.stages import answers, compare

SIDES = ("base", "tuned")


def build_comparison(recipe: Comparison) -> dict[str, Stage]:
    """The stages of a comparison by name, each after its inputs."""
    files = {
        name: refer_rows(getattr(recipe.compare, name), recipe.folder)
        for name in (*SIDES, "prompts")
    }
    asked = answers.PromptsConfig(**files, languages=recipe.languages)
    prompts = stage_of(recipe, "prompts", answers.prompts, asked, Prompt, {}, shards=recipe.shards)
    sides = {name: _answers(recipe, name, files[name]) for name in SIDES}
    spoken = {name: languages_of(recipe, name, side, prompts) for name, side in sides.items()}
    verdicts = judged(recipe, "tuned", prompts, sides["base"], sides["tuned"])
    stages = [prompts, *sides.values(), *spoken.values(), verdicts]
    named = {stage.name: stage for stage in stages}
    config = compare.Config(recipe=recipe.model_dump(mode="json", exclude={"resources"}))
    report = stage_of(recipe, "report", compare.report, config, Metric, named)
    return named | {"report": report}
