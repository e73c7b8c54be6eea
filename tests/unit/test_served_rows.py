"""Rows of a server's answers, by a server that answers with each answer's seed and gives no token ids."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("openai")

from croco.errors import StopError
from croco.models import SERVED, ModelRef, resolve
from croco.records import Prompt
from croco.settings import Resources, Sampling
from croco.stage import Context, Item
from croco.stages.sample import Config, sample

PROMPTS = [Prompt(f"p{k}", "en", f"Question {k}?") for k in range(40)]


class Seeds(BaseHTTPRequestHandler):
    """As vLLM and llama.cpp do: answer i of a request has the request's seed plus i."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        n, seed = body["n"], body["seed"]
        texts = [str(seed + i) for i in range(n)]
        choices = [
            {"index": i, "message": {"role": "assistant", "content": t}, "finish_reason": "stop"}
            for i, t in enumerate(texts)
        ]
        usage = {"prompt_tokens": 5, "completion_tokens": 7 * n, "total_tokens": 5 + 7 * n}
        common = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
        answer = json.dumps(common | {"choices": choices, "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def answered(tmp_path):
    """The rows of n answers each, grown from earlier ones if there are such."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Seeds)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    resources = Resources.model_validate({"server": {"url": url, "model": "m"}})

    def answer(n, seed=1, earlier=None, policy=None):
        policy = policy or ModelRef(name="m", revision=SERVED)
        config = Config(policy=policy, sampling=Sampling(engine="openai", n=n), seed=seed, code={})
        context = Context({}, tmp_path, resources, lambda *_: None)
        begun = earlier or {}
        items = [Item(one.key, {"prompts": one}, begun.get(one.key)) for one in PROMPTS]
        rows = [row for part in sample(config, context, [items]) for row in part]
        return {row.key: row for row in rows}

    yield answer
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_rows_that_grow_in_any_steps_are_those_that_were_asked_for_at_once(answered, seed):
    fresh = {key: row.texts for key, row in answered(16, seed).items()}
    grown = answered(16, seed, answered(8, seed, answered(3, seed)))
    assert {key: row.texts for key, row in grown.items()} == fresh
    assert len({text for texts in fresh.values() for text in texts}) == 16 * len(PROMPTS)
    assert all(0 <= int(text) < 2**31 for texts in fresh.values() for text in texts)


def test_a_row_that_shrinks_keeps_what_the_server_counted(answered):
    sixteen = answered(16)
    for row in answered(8, earlier=sixteen).values():
        assert row.texts == sixteen[row.key].texts[:8]
        assert row.prompt_tokens == 5
        assert row.completion_tokens > 0


def test_a_server_that_may_write_todays_date_into_prompts_is_refused(answered, tmp_path):
    """Its prompts cannot be compared with those that have the one date of all."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    for name, template in (
        ("plain", "{% for m in messages %}{{ m.content }}</s>{% endfor %}"),
        (
            "dated",
            "{{ strftime_now('%d') }} {% for m in messages %}{{ m.content }}</s>{% endfor %}",
        ),
    ):
        words = Tokenizer(models.WordLevel({"</s>": 0, "[UNK]": 1}, unk_token="[UNK]"))
        words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        fast = transformers.PreTrainedTokenizerFast(
            tokenizer_object=words, eos_token="</s>", chat_template=template
        )
        fast.save_pretrained(tmp_path / name)
        (tmp_path / name / "config.json").write_text('{"model_type": "llama"}')
    plain, dated = (resolve(name, tmp_path) for name in ("plain", "dated"))
    assert len(answered(2, policy=plain)) == len(PROMPTS)
    with pytest.raises(StopError, match="date"):
        answered(2, policy=dated)
