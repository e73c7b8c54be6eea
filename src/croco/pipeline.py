"""The whole way of the data on one screen: a recipe in, the stages of its run out."""

from __future__ import annotations

from typing import Literal

from croco import forgetting, models
from croco.arms import Shared, benchmarked, evaluated, sampled, scored
from croco.building import code_of, engines_of, files_of, names_of, prompt_files_of, stage_of
from croco.comparison import build_comparison
from croco.engines import ENGINES
from croco.evaluating import spoken
from croco.languages import IDENTIFIERS
from croco.plugins import see
from croco.recipe import AnyRecipe, Comparison, Recipe
from croco.records import Audited, Draft, Metric, Overlap, Prompt, Step, Translation
from croco.rounds import training_of, trains_on_shared
from croco.settings import Translate
from croco.stage import Stage
from croco.stages import audit, contamination, prompts, report, score, translate
from croco.translation import TRANSLATORS
from croco.tuning import stages_of


def build(recipe: AnyRecipe) -> dict[str, Stage]:
    """The stages of a run by name, each after its inputs."""
    see(recipe.folder)
    return build_comparison(recipe) if isinstance(recipe, Comparison) else _build(recipe)


def _build(recipe: Recipe) -> dict[str, Stage]:
    policy = models.resolve(recipe.policy, recipe.folder)
    training = _prompts(recipe, "train")
    heldout = _prompts(recipe, "heldout")
    trained = _reward(recipe)
    audited = _audit(recipe, trained)
    samples = sampled(recipe, "sample", policy, training, recipe.sample)
    scores = scored(recipe, training, samples, trained)
    base = evaluated(recipe, "base.sample", policy, heldout)
    # What is contaminated, and the reward and its audit, are better known before much is spent.
    stages = [
        *_prepared(recipe, training, heldout),
        *([trained] if trained else []),
        audited,
        *([samples, scores] if any(map(trains_on_shared, recipe.arms.values())) else []),
        base,
        spoken(recipe, "base", base),
        *benchmarked(recipe, "base", policy),
    ]
    shared = Shared(policy, training, samples, scores, trained, heldout, base)
    for name, arm in recipe.arms.items():
        before = training_of(arm.after, recipe.arms[arm.after]) if arm.after else None
        start = next((one for one in stages if one.name == before), None)
        stages += stages_of(recipe, name, shared, start)
    named = {stage.name: stage for stage in stages}
    named |= {stage.name: stage for stage in forgetting.stages_of(recipe, policy, named)}
    return named | {"report": _report(recipe, named)}


def _prompts(recipe: Recipe, which: Literal["train", "heldout"]) -> Stage:
    """Prompts as they are read, or translated from drafts, which are then the stage's input."""
    source, translation = recipe.prompts, recipe.translate
    held_out = which == "heldout"
    config = prompts.Config(
        files=prompt_files_of(source.heldout if held_out else source.train, recipe.folder),
        languages=sorted({*recipe.languages, *(recipe.evaluate.languages if held_out else [])}),
        limit=source.heldout_limit if held_out else source.train_limit,
        never=prompt_files_of(source.train, recipe.folder) if held_out else [],
        source=translation.source if translation else None,
        repair_escapes=source.repair_escapes,
    )
    record = Draft if translation else Prompt
    name = f"prompts-{which}"
    read = stage_of(recipe, name, prompts.prompts, config, record, {}, shards=recipe.shards)
    return _translate(recipe, f"translate-{which}", read, translation) if translation else read


def _translate(recipe: Recipe, name: str, drafts: Stage, translation: Translate) -> Stage:
    prompted, checks = translation.prompt, translation.checks
    config = translate.Config(
        translate=translation.bound(recipe.folder),
        seed=recipe.seed,
        code=code_of(
            (translation.translator, TRANSLATORS, "translate.translator"),
            (checks.identifier, IDENTIFIERS, "translate.checks.identifier"),
            *([(prompted.engine, ENGINES, "translate.prompt.engine")] if prompted else []),
        ),
    )
    return stage_of(
        recipe,
        name,
        translate.translate,
        config,
        Translation,
        {"drafts": drafts},
        unit="row",
        aligned={"drafts"},
        engines=[prompted.engine] if prompted else [],
    )


def _prepared(recipe: Recipe, training: Stage, heldout: Stage) -> list[Stage]:
    """The prompts and their contamination, which is looked for before they are translated, and after."""
    both = [training, heldout]
    drafts = [one for stage in both for one in stage.inputs.values()]
    if not drafts:
        return [*both, _contamination(recipe, "contamination", both)]
    written = _contamination(recipe, "contamination", drafts)
    translated = _contamination(recipe, "contamination-translated", [*drafts, *both])
    return [*drafts, written, *both, translated]


def _contamination(recipe: Recipe, name: str, sides: list[Stage]) -> Stage:
    inputs = {stage.name: stage for stage in sides}
    source = [recipe.translate.source] if recipe.translate else []
    config = contamination.Config(
        train=prompt_files_of(recipe.prompts.train, recipe.folder),
        heldout=prompt_files_of(recipe.prompts.heldout, recipe.folder),
        languages=sorted({*recipe.languages, *source}),
    )
    return stage_of(recipe, name, contamination.contamination, config, Overlap, inputs)


def _reward(recipe: Recipe) -> Stage | None:
    """The training of the reward model, where the recipe has one to train."""
    training = recipe.reward.training
    if training is None:
        return None
    config = score.TrainingConfig(
        train=training.bound(recipe.folder),
        files=files_of(training.files, recipe.folder),
    )
    return stage_of(recipe, "reward", score.train_reward, config, Step, {})


def _audit(recipe: Recipe, trained: Stage | None) -> Stage:
    config = audit.Config(
        reward=recipe.reward.bound(recipe.folder),
        code=code_of(
            *names_of(recipe.reward),
            (recipe.evaluate.identifier, IDENTIFIERS, "evaluate.identifier"),
        ),
        files=files_of(recipe.evaluate.audit, recipe.folder),
        identifier=recipe.evaluate.identifier,
    )
    inputs = {"reward": trained} if trained else {}
    engines = engines_of(recipe.reward) if config.files else []
    return stage_of(recipe, "audit", audit.audit, config, Audited, inputs, engines=engines)


def _report(recipe: Recipe, stages: dict[str, Stage]) -> Stage:
    config = report.Config(recipe=recipe.model_dump(mode="json", exclude={"resources", "executor"}))
    return stage_of(recipe, "report", report.report, config, Metric, stages)
