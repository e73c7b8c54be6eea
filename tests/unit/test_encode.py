"""Another model's answers in the policy's ids: their ends become the policy's end of turn."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")

from croco.models import ModelRef
from croco.records import Prompt, Responses
from croco.stage import Item
from croco.stages.encode import Config, _Encoder
from croco.tokens import end_of_turn

WORDS = ["<unk>", "<|endoftext|>", "<|end|>", "<|other|>", *(f"w{k}" for k in range(4, 40))]
ENDOFTEXT, END, OTHER = 1, 2, 3
CONFIG = Config(policy=ModelRef(name="policy", revision="1"))


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({word: k for k, word in enumerate(WORDS)}, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="<unk>",
        eos_token="<|endoftext|>",
        additional_special_tokens=["<|end|>", "<|other|>"],
    )
    end = "{{ '<|end|>' if m.role == 'assistant' }}"
    made.chat_template = "{% for m in messages %}{{ m.content }} " + end + "{% endfor %}"
    assert end_of_turn(made) == END
    return made


@pytest.mark.parametrize(
    ("ids", "text", "reason", "wanted", "kept"),
    [
        ([4, 5, END], "w4 w5", "stop", [4, 5, END], 1),
        ([4, 5, ENDOFTEXT], "w4 w5", "stop", [4, 5, END], 0),
        ([4, 5, OTHER], "w4 w5", "stop", [4, 5, END], 0),
        ([4, 5], "w4 w5", "length", [4, 5], 1),
        ([4, 5, ENDOFTEXT], "w4 w5", "length", [4, 5], 0),
        # A stop text ended it: its ids are there and no end of turn.
        ([4, 5, 30, 31], "w4 w5", "stop", [4, 5, END], 0),
        # Ids of another tokenizer, of more words, or none at all.
        ([7, 8, END], "w4 w5", "stop", [4, 5, END], 0),
        ([4000, 5, END], "w4 w5", "stop", [4, 5, END], 0),
        ([], "w4 w5", "stop", [4, 5, END], 0),
        ([], "w4 w5", "length", [4, 5], 0),
    ],
)
def test_an_answer_ends_as_the_policy_ends_its_turns(tokenizer, ids, text, reason, wanted, kept):
    row = Responses("p", "en", [4], [text, "w9"], [ids, [9, ENDOFTEXT]], [reason, "stop"])
    item = Item(("p", "en"), {"sample": row, "prompts": Prompt("p", "en", "w6")})
    made = _Encoder(tokenizer, CONFIG).outcome(item, {0})
    assert made.token_ids == [wanted, []]
    assert made.kept == kept


def test_a_template_without_an_end_of_turn_leaves_ids_as_they_were(tokenizer):
    import copy

    plain = copy.deepcopy(tokenizer)
    plain.chat_template = "{% for m in messages %}{{ m.content }} {% endfor %}"
    row = Responses("p", "en", [4], ["w4 w5"], [[4, 5, ENDOFTEXT]], ["stop"])
    item = Item(("p", "en"), {"sample": row, "prompts": Prompt("p", "en", "w6")})
    made = _Encoder(plain, CONFIG).outcome(item, {0})
    assert (made.token_ids, made.kept) == ([[4, 5, ENDOFTEXT]], 1)
