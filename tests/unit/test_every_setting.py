"""Every leaf of the recipe's schema changes a stage of a recipe that uses it, or is refused there.

A new setting fails the first test until it is named here: with a recipe that uses it, and the kind of stage
whose results it changes. That the results do change is looked at by the tests of these stages; for pairs
here, and for training in tests/model/test_every_train_setting.py.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import test_sft_examples as answers
from pydantic import BaseModel

from croco import pipeline, recipe_file
from croco.errors import RecipeError
from croco.recipe import PairConfig, Recipe
from croco.stage import Stage

RECIPES = Path(__file__).parents[2] / "recipes"
PAIRWISE = (
    "{kind: pairwise, prompt: {engine: fake-judge, model: fake, template: 'bundled:compare.yaml'}}"
)
SERVER = "resources={K: {server: {url: 'http://localhost:1'}}}"
TRANSLATE = (
    "translate={source: en, translator: prompt, prompt: {engine: transformers, model: other,"
    " template: 'bundled:translategemma.yaml'}}"
)
APERTIUM = "translate={source: en, translator: apertium}"
PROMPTED = (
    "reward={kind: prompt, prompt: {engine: transformers, model: other,"
    " template: 'bundled:grade.yaml'}}"
)
TRAINED = (
    "reward={kind: classifier, train: {base: other, files: ['bundled:preferences-train.jsonl']}}"
)
MULTI = "arms.a.pair.scope=multilingual"
SPOKEN = "arms.a.pair.filters.wrong_language=drop"
WATCHED = ("arms.a.train.heldout_share=0.2", "arms.a.train.watch={every: 5}")
OFF = "arms.a.responses={policy: other, sample: {n: 4}}"

#: A leaf -> another value than it had, the kind of a stage that it changes, and what of a recipe uses it.
USED: dict[str, tuple[Any, ...]] = {
    "seed": (7, "sample"),
    "languages": ("[en, es]", "prompts"),
    "policy": ("other", "sample"),
    "shards": (3, "sample"),
    "prompts.train": (
        "['bundled:prompts-heldout.jsonl']",
        "prompts",
        "prompts.heldout=['bundled:prompts-train.jsonl']",
    ),
    "prompts.heldout": (
        "['bundled:prompts-train.jsonl']",
        "prompts",
        "prompts.train=['bundled:prompts-heldout.jsonl']",
    ),
    "prompts.train_limit": (3, "prompts"),
    "prompts.heldout_limit": (3, "prompts"),
    "prompts.repair_escapes": ("false", "prompts"),
    "translate.source": ("es", "prompts", APERTIUM),
    "translate.translator": ("croco.translation.apertium:Apertium", "translate", APERTIUM),
    "translate.prompt.engine": ("vllm", "translate", TRANSLATE),
    "translate.prompt.model": ("policy", "translate", TRANSLATE),
    "translate.prompt.template": ("bundled:compare.yaml", "translate", TRANSLATE),
    "translate.prompt.temperature": (0.5, "translate", TRANSLATE),
    "translate.prompt.retry_temperature": (0.5, "translate", TRANSLATE),
    "translate.prompt.retries": (3, "translate", TRANSLATE),
    "translate.prompt.max_tokens": (9, "translate", TRANSLATE),
    "translate.prompt.dtype": ("float32", "translate", TRANSLATE),
    "translate.prompt.chat_template_kwargs": ("{a: 1}", "translate", TRANSLATE),
    "translate.prompt.reasoning": ("[]", "translate", TRANSLATE),
    "translate.checks.identifier": ("fake", "translate", APERTIUM),
    "translate.checks.threshold": (0.1, "translate", APERTIUM),
    "translate.checks.min_length_ratio": (0.1, "translate", APERTIUM),
    "translate.checks.max_length_ratio": (9, "translate", APERTIUM),
    "translate.checks.max_unknown": (0.9, "translate", APERTIUM),
    "sample.engine": ("vllm", "sample"),
    "sample.n": (5, "sample"),
    "sample.temperature": (0.5, "sample"),
    "sample.top_p": (0.5, "sample"),
    "sample.max_tokens": (5, "sample"),
    "sample.stop": ("[x]", "sample"),
    "sample.dtype": ("float32", "sample"),
    "sample.extra": (
        "{a: 1}",
        "sample",
        "sample.engine=openai",
        "evaluate.engine=transformers",
        SERVER.replace("K", "sample"),
    ),
    "sample.chat_template_kwargs": ("{a: 1}", "sample"),
    "sample.reasoning": ("[]", "sample"),
    "reward.kind": ("croco.rewards.fake:FakeScorer", "score", "reward={kind: fake}"),
    "reward.model": ("policy", "score", "reward={kind: classifier, model: other}"),
    "reward.max_length": (99, "score", "reward={kind: classifier, model: other}"),
    "reward.dtype": ("bfloat16", "score", "reward={kind: classifier, model: other}"),
    "reward.train.base": ("policy", "reward", TRAINED),
    "reward.train.files": ("['bundled:preferences-test.jsonl']", "reward", TRAINED),
    "reward.train.languages": ("[en]", "reward", TRAINED),
    "reward.train.epochs": (3, "reward", TRAINED),
    "reward.train.learning_rate": (0.5, "reward", TRAINED),
    "reward.train.batch_size": (3, "reward", TRAINED),
    "reward.train.max_length": (99, "reward", TRAINED),
    "reward.train.depth": (1, "reward", TRAINED),
    "reward.train.layers": (1, "reward", TRAINED),
    "reward.train.lora.r": (2, "reward", TRAINED),
    "reward.train.lora.alpha": (2, "reward", TRAINED),
    "reward.train.lora.targets": ("[q_proj]", "reward", TRAINED),
    "reward.train.dtype": ("bfloat16", "reward", TRAINED),
    "reward.train.without": ("[empty]", "reward", TRAINED),
    "reward.train.seed": (3, "reward", TRAINED),
    "reward.function": (
        "croco.rewards.relevance:judge",
        "score",
        "reward={kind: function, function: 'croco.pairing.facts:text_facts'}",
    ),
    "reward.parts": ("{b: {kind: fake}}", "score"),
    "reward.weights": ("{quality: 3.0}", "score"),
    "reward.gate.identifier": ("py3langid", "score"),
    "reward.gate.threshold": (0.1, "score"),
    "reward.gate.penalty": (1.5, "score"),
    "reward.identifier": ("py3langid", "score", "reward={kind: language, identifier: fake}"),
    "reward.prompt.engine": ("vllm", "score", PROMPTED),
    "reward.prompt.model": ("policy", "score", PROMPTED),
    "reward.prompt.template": ("bundled:compare.yaml", "score", PROMPTED),
    "reward.prompt.temperature": (0.5, "score", PROMPTED),
    "reward.prompt.retry_temperature": (0.5, "score", PROMPTED),
    "reward.prompt.retries": (3, "score", PROMPTED),
    "reward.prompt.max_tokens": (9, "score", PROMPTED),
    "reward.prompt.dtype": ("float32", "score", PROMPTED),
    "reward.prompt.chat_template_kwargs": ("{a: 1}", "score", PROMPTED),
    "reward.prompt.reasoning": ("[]", "score", PROMPTED),
    "arms.*.pair.scope": ("multilingual", "pair"),
    "arms.*.pair.chosen": ("top-3", "pair"),
    "arms.*.pair.rejected": ("min", "pair"),
    "arms.*.pair.pairs_per_pool": (2, "pair"),
    "arms.*.pair.prompt_language": ("rejected", "pair", MULTI),
    "arms.*.pair.normalise": ("rank", "pair", MULTI),
    "arms.*.pair.filters.cut_off": ("drop", "pair"),
    "arms.*.pair.filters.empty": ("'off'", "pair"),
    "arms.*.pair.filters.wrong_language": ("drop", "pair"),
    "arms.*.pair.filters.identifier": ("fake", "pair", SPOKEN),
    "arms.*.pair.filters.threshold": (0.1, "pair", SPOKEN),
    "arms.*.pair.filters.near_duplicates": (0.5, "pair"),
    "arms.*.pair.filters.min_gap": (0.5, "pair"),
    "arms.*.pair.filters.max_length_ratio": (1.5, "pair"),
    "arms.*.train.method": ("sft", "train"),
    "arms.*.train.trainer": ("fake", "train"),
    "arms.*.train.learning_rate": (0.5, "train"),
    "arms.*.train.epochs": (2, "train"),
    "arms.*.train.batch_size": (2, "train"),
    "arms.*.train.loss": ("ipo", "train"),
    "arms.*.train.beta": (0.5, "train"),
    "arms.*.train.sft_weight": (0.5, "train"),
    "arms.*.train.label_smoothing": (0.2, "train", "arms.a.train.loss=robust"),
    "arms.*.train.lora.r": (2, "train"),
    "arms.*.train.lora.alpha": (2, "train"),
    "arms.*.train.lora.dropout": (0.5, "train"),
    "arms.*.train.lora.targets": ("[q_proj]", "train"),
    "arms.*.train.lora.quantized": ("true", "reference"),
    "arms.*.train.warmup_share": (0.5, "train"),
    "arms.*.train.schedule": ("linear", "train"),
    "arms.*.train.weight_decay": (0.5, "train"),
    "arms.*.train.max_grad_norm": (0.5, "train"),
    "arms.*.train.max_length": (99, "reference"),
    "arms.*.train.dtype": ("float32", "reference"),
    "arms.*.train.heldout_share": (0.5, "train"),
    "arms.*.train.watch.every": (3, "train", *WATCHED),
    "arms.*.train.watch.pairs": (3, "train", *WATCHED),
    "arms.*.train.watch.prompts": (3, "train", *WATCHED),
    "arms.*.train.watch.max_tokens": (3, "train", *WATCHED),
    "arms.*.train.watch.identifier": ("fake", "train", *WATCHED),
    "arms.*.train.watch.stop": ("true", "train", *WATCHED),
    "arms.*.after": ("first", "train", "arms={first: {train: {method: sft}}, a: {}}"),
    "arms.*.responses.policy": ("policy", "sample", OFF),
    "arms.*.responses.sample.engine": ("vllm", "sample", OFF),
    "arms.*.responses.sample.n": (5, "sample", OFF),
    "arms.*.responses.sample.temperature": (0.5, "sample", OFF),
    "arms.*.responses.sample.top_p": (0.5, "sample", OFF),
    "arms.*.responses.sample.max_tokens": (5, "sample", OFF),
    "arms.*.responses.sample.stop": ("[x]", "sample", OFF),
    "arms.*.responses.sample.dtype": ("float32", "sample", OFF),
    "arms.*.responses.sample.extra": (
        "{a: 1}",
        "sample",
        OFF,
        "arms.a.responses.sample.engine=openai",
        SERVER.replace("K", "sample"),
    ),
    "arms.*.responses.sample.chat_template_kwargs": ("{a: 1}", "sample", OFF),
    "arms.*.responses.sample.reasoning": ("[]", "sample", OFF),
    "arms.*.rounds.count": (2, "train", "arms.a.rounds={}"),
    "arms.*.rounds.reference": ("moved", "reference", "arms.a.rounds={}"),
    "arms.*.online.every": (3, "train", "arms.a.online={}"),
    "arms.*.online.n": (5, "train", "arms.a.online={}"),
    "evaluate.n": (3, "sample"),
    "evaluate.engine": ("vllm", "sample"),
    "evaluate.judge": ("{kind: language, identifier: py3langid}", "judge"),
    "evaluate.tie": (0.5, "judge", "evaluate.judge={kind: language, identifier: fake}"),
    "evaluate.identifier": ("py3langid", "language", "evaluate.second_identifier=null"),
    "evaluate.second_identifier": ("py3langid", "language"),
    "evaluate.audit": ("[]", "audit"),
    "evaluate.benchmark.datasets": ("{en: [sst5]}", "benchmark", "evaluate.benchmark={}"),
    "evaluate.benchmark.iterations": (2, "benchmark", "evaluate.benchmark={}"),
    "evaluate.benchmark.split": ("validation", "benchmark", "evaluate.benchmark={}"),
    "evaluate.benchmark.packages": ("['euroeval==17.2.0']", "benchmark", "evaluate.benchmark={}"),
    "evaluate.benchmark.extra": ("['--verbose']", "benchmark", "evaluate.benchmark={}"),
    "evaluate.languages": ("[it]", "prompts", "languages=[en, es]", "evaluate.languages=[fr]"),
    "evaluate.sentences": ("[]", "sentences"),
    "evaluate.sentences_limit": (3, "sentences"),
}
#: What is named in other places, is not a matter of results, or has tests of its own.
ELSEWHERE = {
    "name": "the run's folder",
    "folder": "where relative paths start",
    "allow_failed": "which rows may be missing; a benchmark's identity has it",
    "translate.prompt.extra": "as reward.prompt.extra",
    "reward.prompt.extra": "for servers: tests/servers",
}
WHERE = ("resources.", "executor.")

#: What is refused since nothing would read it.
REFUSED = [
    ("evaluate.tie=0.5", f"evaluate.judge={PAIRWISE}"),
    ("arms.a.train.beta=0.5", "arms.a.train.method=sft"),
    ("arms.a.train.loss=ipo", "arms.a.train.method=sft"),
    ("arms.a.train.sft_weight=0.5", "arms.a.train.method=sft"),
    ("arms.a.train.label_smoothing=0.2",),
    ("arms.a.train.warmup_share=0.5", "arms.a.train.schedule=constant"),
    ("arms.a.train.watch={every: 5}",),
    ("arms.a.train.watch.identifier=fake", *WATCHED, "arms.a.train.watch.prompts=0"),
    ("arms.a.train.watch.max_tokens=3", *WATCHED, "arms.a.train.watch.prompts=0"),
    ("arms.a.pair.prompt_language=rejected",),
    ("arms.a.pair.prompt_language=random",),
    ("arms.a.pair.normalise=rank",),
    ("arms.a.pair.filters.threshold=0.1",),
    ("arms.a.rounds={count: 1, reference: moved}",),
    ("arms.a.rounds={reference: moved}", "arms.a.train.method=sft"),
    ("arms.a.rounds={reference: fixed}", "arms.a.train.method=sft"),
    ("arms.a.online={}", "arms.a.train.heldout_share=0.5"),
    ("sample.extra={a: 1}",),
    ("sample.top_p=0.5", "sample.temperature=0"),
    ("evaluate.sentences_limit=3", "evaluate.sentences=[]"),
    ("translate.checks.max_unknown=0.5", TRANSLATE),
    ("translate.prompt.retry_temperature=0.5", TRANSLATE, "translate.prompt.retries=0"),
    ("reward.prompt.retry_temperature=0.5", PROMPTED, "reward.prompt.retries=0"),
    (
        "reward.prompt.dtype=float32",
        PROMPTED,
        "reward.prompt.engine=openai",
        "resources={score: {server: {url: 'http://a'}}, audit: {server: {url: 'http://a'}}}",
    ),
    (
        "arms.a.responses.sample.dtype=float32",
        OFF,
        "arms.a.responses.sample.engine=openai",
        SERVER.replace("K", "sample"),
    ),
    ("reward.max_length=99", "reward={kind: fake}"),
    ("reward.train.layers=1", TRAINED, "reward.train.lora={}"),
]


def sections(hint: Any) -> list[type[BaseModel]]:
    if isinstance(hint, type) and not isinstance(hint, types.GenericAlias):
        return [hint] if issubclass(hint, BaseModel) else []
    return [model for part in typing.get_args(hint) for model in sections(part)]


def leaves(model: type[BaseModel], prefix: str = "", above: tuple[type, ...] = ()) -> Iterator[str]:
    """The paths of all settings; a section that stands in itself is a leaf there."""
    for name, field in model.model_fields.items():
        below = [one for one in sections(field.annotation) if one not in above]
        many = "*." * ("dict[" in str(field.annotation))
        if prefix + name == "evaluate.judge" or not below:  # the judge is a reward's section
            yield prefix + name
            continue
        for one in below:
            yield from leaves(one, f"{prefix}{name}.{many}", (*above, one))


def named(path: str) -> str:
    """The key of a leaf in the recipe of these tests."""
    return path.replace("*", "a")


@pytest.fixture
def build(tmp_path: Path) -> Any:
    for name in ("policy", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(f'{{"name": "{name}"}}')

    def made(*overrides: str) -> dict[str, Stage]:
        own = {"policy": "policy", "arms": {"a": {}}, "sample": {"n": 4, "max_tokens": 20}}
        values = recipe_file.read(RECIPES / "fake.yaml") | own
        values = recipe_file.overridden(values, overrides)
        return pipeline.build(recipe_file.parse(values, tmp_path / "recipe.yaml"))

    return made


def test_every_setting_is_looked_at() -> None:
    found = {path for path in leaves(Recipe) if not path.startswith(WHERE)}
    assert found - USED.keys() - ELSEWHERE.keys() == set()
    assert (USED.keys() | ELSEWHERE.keys()) - found == set()


@pytest.mark.parametrize("path", USED)
def test_a_setting_changes_the_stage_that_reads_it(build: Any, path: str) -> None:
    value, kind, *setup = USED[path]
    before, after = build(*setup), build(*setup, f"{named(path)}={value}")
    identities = [{s.identity for s in one.values() if s.kind == kind} for one in (before, after)]
    assert identities[0] != identities[1]


@pytest.mark.parametrize("overrides", REFUSED, ids=lambda own: own[0])
def test_a_setting_that_nothing_reads_is_refused(build: Any, overrides: tuple[str, ...]) -> None:
    first, *setup = overrides
    key = first.partition("=")[0].rpartition(".")[2]
    with pytest.raises(RecipeError) as caught:
        build(*setup, first)
    said = str(caught.value)
    assert "\n" not in said
    assert key in said or "reference" in said or "layers" in said
    if setup:
        build(*setup)


def test_a_comparison_takes_nothing_of_runs(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "name": "a",
        "compare": {"base": ["a.jsonl"], "tuned": ["b.jsonl"]},
        "evaluate": {"judge": {"kind": "language", "identifier": "fake"}},
    }
    recipe_file.parse(values, tmp_path / "r.yaml")
    for key, value in (("n", 3), ("engine", "vllm"), ("audit", ["a"]), ("sentences", ["a"])):
        own = values | {"evaluate": values["evaluate"] | {key: value}}
        with pytest.raises(RecipeError, match=key):
            recipe_file.parse(own, tmp_path / "r.yaml")


def test_a_saved_recipe_is_read_again(build: Any, tmp_path: Path) -> None:
    """It names all keys: what equals a default is refused nowhere."""
    values = recipe_file.read(RECIPES / "fake.yaml")
    sft = {"train": {"method": "sft", "schedule": "constant"}, "rounds": {}}
    loaded = recipe_file.parse(values | {"arms": {"a": sft}}, tmp_path / "r.yaml")
    dumped = loaded.model_dump(mode="json")
    again = recipe_file.parse(dumped, tmp_path / "r.yaml")
    assert again.model_dump() == loaded.model_dump()


#: Whose effect the texts of these pools do not show: tests/unit/test_pair_stage.py has it.
UNSEEN = ("filters.empty", "filters.identifier", "filters.threshold", "filters.wrong_language")
PAIRS = [path for path in USED if ".pair." in path and not path.endswith(UNSEEN)]


@pytest.mark.parametrize("path", PAIRS)
def test_a_setting_of_pairs_changes_pairs(tmp_path: Path, path: str) -> None:
    values: dict[str, Any] = {"arms": {"a": {"pair": {}}}}
    value, _, *setup = USED[path]
    rows = []
    for k, own in enumerate((setup, [*setup, f"{named(path)}={value}"])):
        (tmp_path / str(k)).mkdir()
        config = recipe_file.overridden(values, own)["arms"]["a"]["pair"]
        _, pairs = answers.of_a_run(tmp_path / str(k), PairConfig.model_validate(config))
        rows.append(list(pairs.rows()))
    assert rows[0] != rows[1]
