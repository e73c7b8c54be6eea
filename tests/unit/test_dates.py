"""Chat templates that write the date write one date, whatever the day is."""

import subprocess
import sys
from pathlib import Path

import pytest

transformers = pytest.importorskip("transformers")

from tokenizers import Tokenizer, models, pre_tokenizers

from croco import dates
from croco.errors import StopError
from croco.euroeval import launch
from croco.tokens import prompt_ids

#: As Llama 3's templates ask for it.
TEMPLATE = (
    "{%- if strftime_now is defined %}{%- set today = strftime_now('%d %b %Y') %}{%- else %}"
    "{%- set today = 'never' %}{%- endif %}{{ today }} {{ messages[0].content }}"
)
WORDS = ["26", "Jul", "2024", "Hello", "[UNK]"]


def tokenizer(template=TEMPLATE):
    vocabulary = {word: k for k, word in enumerate(WORDS)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, chat_template=template)


def test_a_prompt_has_the_same_ids_on_every_day():
    ids = prompt_ids(tokenizer(), [{"role": "user", "content": "Hello"}])
    assert [WORDS[k] for k in ids] == ["26", "Jul", "2024", "Hello"]


def test_a_date_that_cannot_be_fixed_is_refused():
    with pytest.raises(StopError, match="today's date"):
        prompt_ids(
            tokenizer("{% set f = '%d' %}{{ strftime_now(f) }}"), [{"role": "user", "content": "a"}]
        )


def test_a_benchmark_writes_the_same_date():
    """EuroEval renders templates in an environment of its own; the file that starts it fixes the date."""
    assert dates.DATE.timetuple()[:3] == launch.DATE
    code = (
        "import runpy, sys, transformers\n"
        "launch = runpy.run_path(sys.argv[1])\n"
        "launch['fix_date']()\n"
        "from transformers.utils.chat_template_utils import render_jinja_template\n"
        "chat = [[{'role': 'user', 'content': 'Hello'}]]\n"
        "print(render_jinja_template(conversations=chat, chat_template=sys.argv[2])[0][0])\n"
    )
    command = [sys.executable, "-c", code, str(Path(launch.__file__)), TEMPLATE]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "26 Jul 2024 Hello"
