"""The stages that tell what tuning has forgotten: the loss of base and of every arm on sentences."""

from __future__ import annotations

from collections.abc import Mapping

from croco.building import files_of, stage_of
from croco.likelihood import name_for
from croco.models import ModelRef
from croco.recipe import Recipe
from croco.records import Loss, Sentence
from croco.rounds import training_of
from croco.stage import Stage
from croco.stages import loss


def stages_of(recipe: Recipe, policy: ModelRef, made: Mapping[str, Stage]) -> list[Stage]:
    """`sentences`, `base.loss` and a loss per arm; none where the recipe names no sentences.

    `made` has the stages of the arms' training by name.
    """
    own = recipe.evaluate
    if not own.sentences:
        return []
    files = files_of(own.sentences, recipe.folder)
    config = loss.SentencesConfig(files=files, limit=own.sentences_limit)
    sentences = stage_of(
        recipe, "sentences", loss.sentences, config, Sentence, {}, shards=recipe.shards
    )
    tuned = [
        _loss(recipe, name, policy, sentences, made[training_of(name, arm)])
        for name, arm in recipe.arms.items()
    ]
    return [sentences, _loss(recipe, "base", policy, sentences, None), *tuned]


def _loss(
    recipe: Recipe, who: str, policy: ModelRef, sentences: Stage, adapter: Stage | None
) -> Stage:
    engine = recipe.evaluate.engine or recipe.sample.engine
    config = loss.Config(policy=policy, likelihood=name_for(engine), dtype=recipe.sample.dtype)
    inputs = {"sentences": sentences} | ({"adapter": adapter} if adapter else {})
    return stage_of(
        recipe, f"{who}.loss", loss.loss, config, Loss, inputs, unit="row", aligned={"sentences"}
    )
