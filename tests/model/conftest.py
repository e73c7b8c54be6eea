import pytest

from croco.models import ModelRef

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<{{ message['role'] }}> {{ message['content'] }} <end>"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
WORDS = (
    "hello there hi a much longer question about bread and rain the cat sat on mat yes no".split()
)


@pytest.fixture(scope="session")
def tiny_policy(tmp_path_factory):
    """A random Llama of two layers with a word tokenizer and a chat template, as a directory."""
    torch = pytest.importorskip("torch")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<unk>", "<s>", "<end>", "<user>", "<assistant>"]
    words = special + WORDS + [f"w{k}" for k in range(40)]
    inner = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="<end>",
        unk_token="<unk>",
        pad_token="<end>",
        additional_special_tokens=["<user>", "<assistant>"],
    )
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    folder = tmp_path_factory.mktemp("tiny")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return ModelRef(name="tiny", revision="test", location=str(folder))
