"""Words and numbers of YAML: `no` is Norwegian wherever it stands, and what is written is read back."""

import pytest
import yaml

from croco import pipeline, recipe_file, yamls
from croco.errors import RecipeError
from croco.runs import Run
from croco.training.export import _card


@pytest.mark.parametrize("word", ["no", "No", "NO", "on", "off", "yes", "y", "n", "nan", "nb-NO"])
def test_words_are_words_as_values_and_as_keys(word):
    assert yamls.load(f"[en, {word}]") == ["en", word]
    assert yamls.load(f"{word}: {{{word}: [{word}]}}") == {word: {word: [word]}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1e-3", 0.001),
        ("5.0e-6", 5e-6),
        (".5", 0.5),
        ("12:30", "12:30"),
        ("2026-01-31", "2026-01-31"),
        ("1_000", "1_000"),
    ],
)
def test_numbers_are_those_that_people_write(text, value):
    found = yamls.load(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "word",
    [
        "no",
        "off",
        "1e3",
        "010",
        "0o7",
        "12:30",
        "2026-01-31",
        "null",
        "",
        "true",
        "~",
        "<<",
        "=",
        "3",
    ],
)
def test_what_is_written_is_read_back_by_either_version(word):
    for value in ([word], {word: word}):
        assert yamls.load(yamls.dump(value)) == value
        assert yaml.safe_load(yamls.dump(value)) == value


def test_norwegian_stands_everywhere_that_a_language_can(tmp_path, recipes):
    text = (recipes / "fake.yaml").read_text().replace("[en, es, fr, de]", "[en, no, NO]")
    path = tmp_path / "recipe.yaml"
    path.write_text(text.replace("[en, no, NO]", "[en, no]"))
    data = "evaluate.benchmark={datasets: {no: [norec]}}"
    recipe = recipe_file.load(path, [data, "evaluate.languages=[es, nn]"])
    assert recipe.languages == ["en", "no"]
    assert recipe.evaluate.benchmark.datasets == {"no": ["norec"]}
    assert recipe_file.load(path, ["languages=[es, no]"]).languages == ["es", "no"]
    assert (
        recipe_file.load(path, ["translate={source: no, translator: apertium}"]).translate.source
        == "no"
    )
    run = Run(tmp_path, recipe)
    run.save()
    assert Run.load(tmp_path, run.name).recipe.languages == ["en", "no"]
    assert Run.load(tmp_path, run.name).recipe.evaluate.benchmark.datasets == {"no": ["norec"]}
    assert yaml.safe_load((run.folder / "recipe.yaml").read_text())["languages"] == ["en", "no"]


def test_a_stage_of_norwegian_prompts_has_them(tmp_path, recipes):
    row = '{{"id": "{0}", "lang": "LANG", "prompt": "Hei {0}"}}\n'
    rows = row.replace("LANG", "no") + row.replace("LANG", "en")
    (tmp_path / "train.jsonl").write_text(rows.format("a"))
    (tmp_path / "heldout.jsonl").write_text(rows.format("b"))
    path = tmp_path / "recipe.yaml"
    text = (recipes / "fake.yaml").read_text().replace("bundled:prompts-", "")
    path.write_text(text.replace("[en, es, fr, de]", "[no, en]"))
    stages = pipeline.build(recipe_file.load(path))
    assert stages["prompts-train"].config.languages == ["en", "no"]
    stages["prompts-train"].config.check()


def test_off_is_a_filters_word_and_yes_a_switch(recipes):
    train = "train: {trainer: fake, lora: {quantized: yes}}"
    own = f"arms={{dpo: {{pair: {{filters: {{cut_off: OFF, empty: off}}}}, {train}}}}}"
    arm = recipe_file.load(recipes / "fake.yaml", [own]).arms["dpo"]
    assert (arm.pair.filters.cut_off, arm.pair.filters.empty) == ("off", "off")
    assert arm.train.lora.quantized is True


@pytest.mark.parametrize(
    ("override", "right"),
    [
        ("sample.dtype=bf16", "bfloat16"),
        ("sample.dtype=fp16", "float16"),
        ("sample.dtype=fp32", "float32"),
        ("arms.dpo-monolingual.pair.scope=monoligual", "monolingual"),
        ("executor.kind=slrum", "slurm"),
    ],
)
def test_a_word_that_is_not_known_is_told_with_the_nearest(recipes, override, right):
    with pytest.raises(RecipeError, match=f"did you mean '{right}'"):
        recipe_file.load(recipes / "fake.yaml", [override])


def test_a_model_card_names_norwegian(tmp_path):
    from croco.models import ModelRef

    arm = {"train": {"method": "dpo"}}
    about = {"run": "r", "arm": "a", "form": "model", "languages": ["no", "en"]}
    about |= {"identity": "train-0", "recipe": {"arms": {"a": arm}}}
    card = _card(about, ModelRef(name="a/b", revision="main"))
    assert yaml.safe_load(card.split("---")[1])["language"] == ["no", "en"]
