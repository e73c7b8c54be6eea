"""One conversation has the same token ids wherever a model reads it, whatever its chat template.

What the models are given is read where they read it, at their embeddings, and compared with the
conversation as it is written out here by hand.
"""

import contextlib

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("trl")

from croco import engines, rewards
from croco.engines import Request
from croco.errors import EngineError, StopError
from croco.models import ModelRef
from croco.records import Candidate, Turn
from croco.reward_settings import RewardConfig
from croco.settings import Resources, Sampling
from croco.tokens import answer_ids, end_of_turn, load_tokenizer, prompt_ids
from croco.training import Example, Job, Place, preference
from croco.training_settings import TrainConfig

pytestmark = pytest.mark.model
TURNS = "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} <end> {% endfor %}"
ASK = "{% if add_generation_prompt %}<assistant>{% endif %}"
FOLDED = (
    "{{ bos_token }} {% set system = messages[0]['content'] + ' ' if messages[0]['role'] == 'system'"
    " else '' %}{% for m in messages if m['role'] != 'system' %}<{{ m['role'] }}> "
    "{{ system if loop.first }}{{ m['content'] }} <end> {% endfor %}" + ASK
)
#: Template, whether the tokenizer has a BOS, and where a system prompt goes.
SHAPES = {
    "bos": ("{{ bos_token }} " + TURNS + ASK, True, "turn"),
    "none": (TURNS + ASK, False, "turn"),
    "folded": (FOLDED, True, "user"),
}
USER, ANSWER = {"role": "user", "content": "hello there"}, {"role": "assistant", "content": "yes"}
SYSTEM = {"role": "system", "content": "w1 w2"}
CHATS = {
    "single": [USER],
    "system": [SYSTEM, USER],
    "turns": [USER, ANSWER, {"role": "user", "content": "bread and rain"}],
    "all": [SYSTEM, USER, ANSWER, {"role": "user", "content": "bread and rain"}],
}


def by_hand(chat, bos, system):
    """The words of a chat up to the model's turn, as its model was trained to read them."""
    words = ["<s>"] * bos
    folded = []
    for turn in chat:
        said = turn["content"].split()
        if turn["role"] == "system" and system == "user":
            folded = said
            continue
        words += [f"<{turn['role']}>", *folded, *said, "<end>"]
        folded = []
    return [*words, "<assistant>"]


def saved(tiny_policy, folder, template, bos):
    """The tiny policy under another chat template, with or without a BOS; and a reward model of it."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_policy.location)
    if not bos:
        from tokenizers import processors

        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A")
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer.backend_tokenizer,
            eos_token="<end>",
            unk_token="<unk>",
            pad_token="<end>",
        )
        tokenizer.add_special_tokens(
            {"additional_special_tokens": ["<user>", "<assistant>", "<system>"]}
        )
    else:
        tokenizer.add_special_tokens({"additional_special_tokens": ["<system>"]})
    tokenizer.chat_template = template
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_policy.location)
    model.resize_token_embeddings(len(tokenizer))
    if not bos:
        model.config.bos_token_id = None
    reward = transformers.LlamaForSequenceClassification(
        model.config.__class__(**{**model.config.to_dict(), "num_labels": 1})
    )
    for part, name in ((model, "policy"), (reward, "reward")):
        part.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return ModelRef(name="tiny", revision="test", location=str(folder / "policy"))


@pytest.fixture(scope="module", params=SHAPES)
def shape(request, tiny_policy, tmp_path_factory):
    template, bos, system = SHAPES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    return saved(tiny_policy, folder, template, bos), folder / "reward", bos, system


@contextlib.contextmanager
def embedded():
    """Collects the ids that any model reads: a list of (rows, columns) tensors."""
    seen = []

    def note(module, args, output):
        if isinstance(module, torch.nn.Embedding):
            seen.append(args[0].detach().clone())

    handle = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        yield seen
    finally:
        handle.remove()


def engine_for(policy, adapter=None):
    sampling = Sampling(n=2, max_tokens=6, dtype="float32")
    return engines.load("transformers", policy, sampling, Resources(), adapter)


def replies(engine, chats):
    requests = [Request(k, chat, [5, 6]) for k, chat in enumerate(chats)]
    found = {r.request.key: r for part in engine.generate([requests]) for r in part}
    return [found[k] for k in range(len(chats))]


def rows_in(batches):
    return [row.tolist() for batch in batches for row in torch.atleast_2d(batch)]


def ends_with(row, ids):
    return row[-len(ids) :] == ids


def test_every_stage_reads_the_same_ids(shape, tmp_path):
    policy, reward_model, bos, system = shape
    tokenizer = load_tokenizer(policy)
    expected = {
        name: tokenizer.convert_tokens_to_ids(by_hand(chat, bos, system))
        for name, chat in CHATS.items()
    }
    assert tokenizer.unk_token_id not in {t for ids in expected.values() for t in ids}
    end = tokenizer.convert_tokens_to_ids("<end>")
    assert end_of_turn(tokenizer) == end

    # Sampling, and what servers and vLLM are given.
    engine = engine_for(policy)
    with embedded() as read:
        sampled = replies(engine, CHATS.values())
    read = rows_in(read)
    for (name, chat), reply in zip(CHATS.items(), sampled, strict=True):
        assert reply.prompt_ids == expected[name] == prompt_ids(tokenizer, chat)
        assert any(ends_with(row, expected[name]) for row in read), name

    # Scoring by a model of the same family: the prompt, the answer, and its end of turn, once each.
    scorer = rewards.load(RewardConfig(kind="classifier", model=str(reward_model)), Resources())
    for name, chat in CHATS.items():
        before = [Turn(**turn) for turn in chat[:-1]]
        with embedded() as read:
            scorer.score([Candidate("en", chat[-1]["content"], "the cat sat", before)])
        answer = answer_ids(tokenizer, "the cat sat", finished=True)
        assert answer[-1] == end
        assert rows_in(read) == [expected[name] + answer]

    # Training: what was sampled, id by id; an answer that was cut off gets no end.
    kept = [
        Example(reply.prompt_ids, *(one.token_ids for one in reply.completions))
        for reply in sampled
    ]
    for method in ("sft", "dpo"):
        out = tmp_path / method
        with embedded() as read:
            train(policy, kept, method, out)
        read = rows_in(read)
        for example in kept:
            for answer in (example.chosen_ids, example.rejected_ids)[: 1 + (method == "dpo")]:
                wanted = example.prompt_ids + answer
                assert any(row[: len(wanted)] == wanted for row in read), method

        # Evaluation: the tuned policy reads the prompts as the untuned one did.
        tuned = replies(engine_for(policy, out), CHATS.values())
        assert [reply.prompt_ids for reply in tuned] == list(expected.values())


def train(policy, examples, method, out):
    config = TrainConfig(method=method, batch_size=4, epochs=1, dtype="float32")
    preference.train(Job(config, policy, examples, seed=0), Place(out, out.with_name("work")))


BROKEN = {
    "2 BOS": ("{{ bos_token }} {{ bos_token }} " + TURNS + ASK, True),
    "0 BOS": (TURNS + ASK, True),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_template_that_doubles_or_loses_the_bos_is_refused(reason, tiny_policy, tmp_path):
    policy = saved(tiny_policy, tmp_path, *BROKEN[reason])
    with pytest.raises(StopError, match=reason):
        replies(engine_for(policy), [[USER]])


def test_a_template_that_loses_the_end_of_turn_is_refused(tiny_policy, tmp_path):
    template = "{{ bos_token }} " + TURNS.replace("<end>", "") + ASK
    tokenizer = load_tokenizer(saved(tiny_policy, tmp_path, template, True))
    with pytest.raises(StopError, match="end-of-turn"):
        answer_ids(tokenizer, "yes", finished=True)


def test_the_end_of_turn_is_not_what_opens_an_answer(tiny_policy, tmp_path):
    """Templates of thinking models put an empty thought before the last answer."""
    thinking = TURNS.replace(
        "<{{ m['role'] }}> ", "<{{ m['role'] }}> {{ '<system> ' if m['role'] == 'assistant' }}"
    )
    tokenizer = load_tokenizer(
        saved(tiny_policy, tmp_path, "{{ bos_token }} " + thinking + ASK, True)
    )
    assert end_of_turn(tokenizer) == tokenizer.convert_tokens_to_ids("<end>")


def test_a_template_without_system_prompts_refuses_the_row_that_has_one(tiny_policy, tmp_path):
    refusing = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    )
    policy = saved(tiny_policy, tmp_path, refusing + "{{ bos_token }} " + TURNS + ASK, True)
    refused, fine = replies(engine_for(policy), [[SYSTEM, USER], [USER]])
    assert isinstance(refused.error, EngineError)
    assert "no system" in str(refused.error)
    assert fine.error is None


def test_a_model_without_a_chat_template_says_how_to_give_one(tiny_policy, tmp_path):
    policy = saved(tiny_policy, tmp_path, "", True)
    with pytest.raises(StopError, match=r"chat_template\.jinja"):
        replies(engine_for(policy), [[USER]])
