"""Reasoning in token ids: special tokens as markers, templates that open it, and templates' arguments."""

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")

from croco.completions import completion, opening_of
from croco.engines import Request, load
from croco.errors import RecipeError
from croco.models import ModelRef
from croco.records import Prompt, Responses
from croco.settings import Resources, Sampling
from croco.stage import Item
from croco.stages.encode import Config, _Encoder
from croco.tokens import answer_ids, load_tokenizer, prompt_ids

pytestmark = pytest.mark.model

CHAT = [{"role": "user", "content": "hello there"}]
OPENS = (
    "{% if add_generation_prompt %}<assistant>{% if thinking | default(true) %} [THINK] {% endif %}"
    "{% endif %}"
)


def written(tiny_policy, folder, template):
    """The tiny policy with [THINK] and [/THINK] as special tokens, as Mistral's models have them."""
    shutil.copytree(tiny_policy.location, folder)
    path = folder / "tokenizer.json"
    values = json.loads(path.read_text())
    vocabulary = values["model"]["vocab"]
    for old, new in (("w0", "[THINK]"), ("w1", "[/THINK]")):
        vocabulary[new] = vocabulary.pop(old)
        kind = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        token = {"id": vocabulary[new], "content": new, "special": True}
        values["added_tokens"].append(token | kind)
    path.write_text(json.dumps(values))
    jinja = folder / "chat_template.jinja"
    jinja.write_text(jinja.read_text().replace(*template) if template else jinja.read_text())
    return ModelRef(name="tiny", revision="test", location=str(folder))


ANSWERS = "{% if add_generation_prompt %}<assistant>{% endif %}"


@pytest.fixture(scope="module")
def plain(tiny_policy, tmp_path_factory):
    """A model that opens its reasoning itself."""
    return written(tiny_policy, tmp_path_factory.mktemp("thinks") / "plain", None)


@pytest.fixture(scope="module")
def opened(tiny_policy, tmp_path_factory):
    """A model whose chat template opens its reasoning, unless told not to."""
    return written(tiny_policy, tmp_path_factory.mktemp("thinks") / "opened", (ANSWERS, OPENS))


def read(policy, words, arguments=None):
    tokenizer = load_tokenizer(policy)
    asked = prompt_ids(tokenizer, CHAT, arguments or {})
    ids = tokenizer.convert_tokens_to_ids([*words.split(), "<end>"])
    assert None not in ids
    return completion(tokenizer, asked, ids, "stop", [tokenizer.eos_token_id])


def test_special_tokens_that_mark_reasoning_are_seen_and_are_no_flaw(plain):
    found = read(plain, "[THINK] the cat sat [/THINK] yes")
    assert (found.text, found.whole) == ("yes", "[THINK] the cat sat [/THINK] yes")
    assert (found.reasoning_tokens, found.special) == (5, 0)
    assert len(found.token_ids) == 7, "training reads all of it"


def test_reasoning_that_does_not_end_leaves_no_answer(plain):
    found = read(plain, "[THINK] the cat sat")
    assert (found.text, found.reasoning_tokens) == ("", len(found.token_ids))


def test_what_the_prompt_opened_is_reasoning(opened):
    found = read(opened, "the cat sat [/THINK] yes")
    assert (found.text, found.reasoning_tokens) == ("yes", 4)
    assert found.whole.startswith("[THINK]")
    assert read(opened, "the cat sat").text == "", "cut off before its reasoning ended"
    assert read(opened, "the cat sat", {"thinking": False}).text == "the cat sat"


@pytest.mark.parametrize("thinking", [True, False])
def test_a_templates_arguments_reach_the_local_engine(opened, thinking):
    arguments = {"thinking": thinking}
    sampling = Sampling(n=2, max_tokens=6, dtype="float32", chat_template_kwargs=arguments)
    engine = load("transformers", opened, sampling, Resources(device="cpu"))
    ((reply,),) = engine.generate([[Request("k", CHAT, [1, 2])]])
    tokenizer = load_tokenizer(opened)
    opens = bool(opening_of(tokenizer, reply.prompt_ids))
    assert opens == thinking
    assert reply.prompt_ids == prompt_ids(tokenizer, CHAT, arguments)
    assert all(bool(one.whole) == thinking for one in reply.completions)


def test_an_argument_that_the_template_does_not_read_is_refused(opened):
    sampling = Sampling(n=1, dtype="float32", chat_template_kwargs={"enable_thinkin": False})
    with pytest.raises(RecipeError, match="enable_thinkin"):
        load("transformers", opened, sampling, Resources(device="cpu"))


def test_arguments_and_markers_are_in_the_identity():
    plain = Sampling().model_dump_json()
    assert Sampling(chat_template_kwargs={"thinking": False}).model_dump_json() != plain
    assert Sampling(reasoning=[["<a>", "</a>"]]).model_dump_json() != plain


@pytest.mark.parametrize("opens", [True, False])
@pytest.mark.parametrize("space", [" ", "\n", ""])
def test_another_models_reasoning_is_encoded_once(opened, opens, space):
    policy = load_tokenizer(opened)
    config = Config(policy=opened, chat_template_kwargs={"thinking": opens})
    row = Responses(
        "1", "en", [], ["yes"], [[]], ["stop"], whole=[f"[THINK]{space}the cat sat [/THINK] yes"]
    )
    item = Item(("1", "en"), {"sample": row, "prompts": Prompt("1", "en", "hello there")})
    made = _Encoder(policy, config).outcome(item, {0})
    words = "the cat sat [/THINK] yes" if opens else "[THINK] the cat sat [/THINK] yes"
    assert policy.decode(made.token_ids[0], skip_special_tokens=False) == f"{words} <end>"
    assert made.token_ids[0] != answer_ids(policy, "yes", True)
    assert Path(opened.location).exists()
