"""The stages that evaluate answers, of a run and of a mere comparison alike."""

from __future__ import annotations

from croco.building import code_of, engines_of, names_of, stage_of
from croco.judging import JUDGES
from croco.languages import IDENTIFIERS
from croco.recipe import AnyRecipe
from croco.records import Languages, Verdicts
from croco.stage import Stage
from croco.stages import judge, language


def judged(recipe: AnyRecipe, name: str, prompts: Stage, base: Stage, tuned: Stage) -> Stage:
    """The verdicts on two sides' answers to the same prompts."""
    evaluation = recipe.evaluate
    config = judge.Config(
        judge=evaluation.judge.bound(recipe.folder),
        tie=evaluation.tie,
        seed=recipe.seed,
        code=code_of(*names_of(evaluation.judge, judge=True)),
    )
    inputs = {"prompts": prompts, "base": base, "tuned": tuned}
    return stage_of(
        recipe,
        f"{name}.judge",
        judge.judge,
        config,
        Verdicts,
        inputs,
        unit="row",
        engines=engines_of(evaluation.judge),
        grows="config.judge.prompt.retries" if evaluation.judge.kind in JUDGES else "",
        aligned=inputs,
    )


def spoken(recipe: AnyRecipe, name: str, answers: Stage) -> Stage:
    """The languages of a side's answers."""
    first, second = recipe.evaluate.identifier, recipe.evaluate.second_identifier
    names = {"evaluate.identifier": first, "evaluate.second_identifier": second}
    code = code_of(*((own, IDENTIFIERS, key) for key, own in names.items() if own))
    config = language.Config(identifier=first, second=second, code=code)
    inputs = {"sample": answers}
    return stage_of(
        recipe,
        f"{name}.language",
        language.language,
        config,
        Languages,
        inputs,
        unit="row",
        aligned=inputs,
    )
