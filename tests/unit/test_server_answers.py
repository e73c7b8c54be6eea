"""A server's answers that are none fail their row with the reason; its reasoning stays apart."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("openai")

from croco import engines, judging
from croco.engines import Request
from croco.errors import EngineError, NoAnswerError
from croco.judging.contests import Contest
from croco.models import SERVED, ModelRef
from croco.records import Prompt
from croco.reward_settings import RewardConfig
from croco.settings import Prompted, Resources, Sampling, Server

THOUGHT = "Let me think about it. "
TOOL = [{"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


@pytest.fixture
def server():
    """A server whose choices are what `choose(k, body)` gives; `bodies` are the requests."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            self.answer({"object": "list", "data": [{"id": "thinker", "object": "model"}]})

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            http.bodies.append(body)
            choices = http.choose(body)
            self.answer(
                {"id": "x", "object": "chat.completion", "created": 0, "model": "thinker"}
                | ({} if choices is None else {"choices": choices})
            )

        def answer(self, values):
            data = json.dumps(values).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads, http.bodies, http.choose = True, [], None
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield http
    http.shutdown()
    http.server_close()


def choice(message, reason="stop", k=0, **more):
    return {"index": k, "finish_reason": reason, **more} | (
        {} if message is None else {"message": {"role": "assistant"} | message}
    )


def resources(server):
    url = f"http://127.0.0.1:{server.server_port}/v1"
    return Resources(server=Server(url=url, retries=0, timeout=20))


def asked(server, n=1, **more):
    model = ModelRef(name="thinker", revision=SERVED)
    sampling = Sampling(engine="openai", n=n, max_tokens=32, **more)
    engine = engines.load("openai", model, sampling, resources(server))
    request = Request("k", [{"role": "user", "content": "q"}], list(range(n)))
    ((reply,),) = engine.generate([[request]])
    return reply


@pytest.mark.parametrize(
    ("answer", "reason", "said"),
    [
        (choice({"content": None, "reasoning": THOUGHT}, "length"), "cut off", "32 tokens"),
        (choice({"content": None, "reasoning_content": THOUGHT}, "length"), "cut off", "reasoning"),
        (choice({"content": "", "reasoning_content": THOUGHT}, "length"), "cut off", "reasoning"),
        (choice({"content": None}, "length"), "cut off", "max_tokens"),
        (choice({"content": None, "reasoning_content": THOUGHT}), "empty", "reasoning"),
        (
            choice({"content": "\n\n", "reasoning_content": THOUGHT}, "length"),
            "cut off",
            "reasoning",
        ),
        (choice({"content": "\u200b", "reasoning": THOUGHT}), "empty", "reasoning"),
        (choice({"content": "", "tool_calls": TOOL}), "empty", "tool"),
        (choice({"content": None}), "empty", "None"),
        (choice({}), "empty", "None"),
        (choice({"content": None, "refusal": "I cannot."}), "empty", "I cannot."),
        (choice({"content": "", "refusal": "I cannot."}), "empty", "I cannot."),
        (choice({"content": None, "tool_calls": []}, "tool_calls"), "empty", "tool_calls"),
        (choice(None), "empty", "no message"),
    ],
)
def test_what_is_no_answer_fails_with_the_reason(server, answer, reason, said):
    server.choose = lambda body: [answer]
    error = asked(server).error
    assert isinstance(error, NoAnswerError)
    assert error.reason == reason
    assert said in str(error)


@pytest.mark.parametrize("choices", [[], None])
def test_no_choices_fail(server, choices):
    server.choose = lambda body: choices
    assert isinstance(asked(server).error, EngineError)


def test_one_missing_answer_of_several_fails_the_row(server):
    server.choose = lambda body: [
        choice({"content": None if k == 1 else "Hola."}, k=k) for k in range(body["n"])
    ]
    found = asked(server, n=3)
    assert isinstance(found.error, NoAnswerError)
    assert not found.completions


def test_an_empty_answer_is_an_answer(server):
    server.choose = lambda body: [choice({"content": ""})]
    found = asked(server)
    assert (found.error, found.completions[0].text) == (None, "")


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_that_the_server_put_apart_is_kept_apart(server, name):
    server.choose = lambda body: [choice({"content": "\n\nHola.", name: THOUGHT})]
    found = asked(server).completions[0]
    assert found.text.strip() == "Hola."
    assert found.whole == f"<think>\n{THOUGHT.strip()}\n</think>\n\nHola."


def test_reasoning_in_the_content_is_separated(server):
    server.choose = lambda body: [choice({"content": f"{THOUGHT}</think>Hola."})]
    found = asked(server).completions[0]
    assert (found.text, found.whole) == ("Hola.", f"{THOUGHT}</think>Hola.")


def test_a_chat_templates_arguments_are_sent(server):
    server.choose = lambda body: [choice({"content": "Hola."})]
    asked(server, chat_template_kwargs={"enable_thinking": False})
    (body,) = server.bodies
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert body["top_k"] == 0, "and the server's own cuts are still turned off"


def test_arguments_that_are_ignored_or_given_twice_are_refused():
    arguments = {"enable_thinking": False}
    for more in (
        {"engine": "fake"},
        {"engine": "openai", "extra": {"chat_template_kwargs": arguments}},
    ):
        with pytest.raises(ValueError, match="chat_template_kwargs"):
            Sampling(chat_template_kwargs=arguments, **more)
    with pytest.raises(ValueError, match="tokenize"):
        Sampling(chat_template_kwargs={"tokenize": False})


def test_a_judge_without_answers_has_missing_verdicts_and_no_failed_row(server, tmp_path):
    server.choose = lambda body: [choice({"content": None, "reasoning": THOUGHT}, "length")]
    prompted = Prompted(engine="openai", model="thinker", template="bundled:compare.yaml")
    config = RewardConfig(kind="pairwise", prompt=prompted).bound(tmp_path)
    judge = judging.load(config, 0.0, resources(server))
    contest = Contest(("p", "es"), Prompt("p", "es", "q"), ["x"], ["y"], 7)
    ((found,),) = judge.decide([[contest]])
    assert found.error is None
    assert found.reasons == [["cut off", "cut off"]]
    assert len(server.bodies) == 4
    assert len({body["seed"] for body in server.bodies}) == 4
