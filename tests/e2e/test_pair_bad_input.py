"""What is wrong with the files or options of `croco pair`: a bad row costs itself alone, and is named."""

import json
import math
import sys
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exits import refused

from croco import cli
from croco.errors import DataError
from croco.pairing import sources
from croco.pairing.files import Options, pair_files
from croco.recipe import PairConfig

GOOD = [
    {"id": "p", "lang": "en", "response": text, "reward": reward}
    for text, reward in (("best", 3.0), ("worst", 0.0), ("middle", 1.0))
]
PROMPT = {"id": "p", "lang": "en", "prompt": "How?"}
LISTED = {"id": "p", "lang": "en", "responses": ["a", "b"], "rewards": [2.0, 1.0]}


def written(path, lines):
    """A file of lines: rows, text, or bytes as they are."""
    raw = (line if isinstance(line, bytes) else _text(line).encode() for line in lines)
    path.write_bytes(b"".join(line + b"\n" for line in raw))
    return path


def _text(line):
    return line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def pair(tmp_path):
    """Pairs files in this process; what came of it, with every row that was left out."""
    prompts = written(tmp_path / "prompts.jsonl", [PROMPT])

    def call(*files, asked=(prompts,), **options):
        out = tmp_path / "out"
        summary = pair_files(files, out, prompts=asked, options=Options(**options))
        refused, unmatched = read(out / "refused.jsonl"), read(out / "unmatched.jsonl")
        counted = {**summary["responses"]["refused"]}
        if summary["prompts"]["refused"]:
            counted["unusable prompt"] = summary["prompts"]["refused"]
        assert counted == {
            reason: sum(row["reason"] == reason for row in refused)
            for reason in {row["reason"] for row in refused}
        }
        made = [row for path in sorted(out.glob("pairs*")) for row in read(path)]
        return SimpleNamespace(
            summary=summary,
            used=summary["responses"]["used"],
            pairs=[(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in made],
            refused=[(row["line"], row["reason"]) for row in refused],
            rows=refused,
            unmatched=unmatched,
        )

    return call


@pytest.fixture
def verb(tmp_path, monkeypatch, capsys):
    """The command line in this process and folder, which is quick: the exit code and what was said."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "r.jsonl", GOOD)
    written(tmp_path / "p.jsonl", [PROMPT])

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["croco", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return SimpleNamespace(returncode=end.value.code, stdout=said.out, stderr=said.err)

    return call


# -- Rows that cannot be used ---------------------------------------------------------------------------

UNREADABLE = "unreadable"
NOT_FINITE = "reward is not a finite number"
BAD_TAG = "lang is not a BCP-47 tag"


def bad(**changes):
    return {k: v for k, v in (GOOD[0] | changes).items() if v != "absent"}


BAD_LINES = [
    ('{"id": "p", "lang": "en", "resp', UNREADABLE),
    ('{"id": "p", "lang": "en", "response": "café", "reward": 9}'.encode("latin-1"), UNREADABLE),
    (b'{"id": "p", "lang": "en", "response": "x", "reward": 9, "by": "Ren\xe9"}', UNREADABLE),
    (json.dumps(GOOD[0]).encode("utf-16"), UNREADABLE),
    ('{"id": "p", "lang": "en", "response": "half \\ud83d", "reward": 9}', UNREADABLE),
    ('{"id": "p", "lang": "en", "response": "half \\udc00", "reward": 9}', UNREADABLE),
    ('{"id": "p\\ud800", "lang": "en", "response": "x", "reward": 9}', UNREADABLE),
    ('[{"id": "p", "lang": "en", "response": "x", "reward": 9}]', UNREADABLE),
    (json.dumps(GOOD[0]) * 2, UNREADABLE),
    ("null", UNREADABLE),
    ("x", UNREADABLE),
    ("[" * 100_000, UNREADABLE),
    ("{}", "no id"),
    (bad(id="absent"), "no id"),
    (bad(id=None), "no id"),
    (bad(id=1.5), UNREADABLE),
    (bad(id=True), UNREADABLE),
    (bad(lang="absent"), "no lang"),
    (bad(lang=""), BAD_TAG),
    (bad(lang="english"), BAD_TAG),
    (bad(lang="en_US!"), BAD_TAG),
    (bad(lang="mul"), BAD_TAG),
    (bad(lang=["en"]), UNREADABLE),
    (bad(response="absent"), "no response"),
    (bad(response=None), "no response"),
    (bad(response=5), UNREADABLE),
    (bad(response=["text"]), UNREADABLE),
    (bad(reward="absent"), "no reward"),
    (bad(reward=None), "no reward"),
    (bad(reward=math.nan), NOT_FINITE),
    (bad(reward=math.inf), NOT_FINITE),
    (bad(reward=-math.inf), NOT_FINITE),
    ('{"id": "p", "lang": "en", "response": "x", "reward": 1e999}', NOT_FINITE),
    (bad(reward="nan"), NOT_FINITE),
    (bad(reward="good"), UNREADABLE),
    (bad(reward=""), UNREADABLE),
    (bad(reward=True), UNREADABLE),
    (bad(reward=[1.0]), UNREADABLE),
    (bad(reward={"score": 1.0}), UNREADABLE),
    (bad(response="absent", messages=[{"role": "user", "content": "x"}]), "no response"),
    (bad(response="absent", messages=[]), "no response"),
    (bad(response="absent", messages=[{"role": "assistant", "content": None}]), UNREADABLE),
    (bad(messages=[{"content": "x"}, {"role": "assistant", "content": "y"}]), UNREADABLE),
    (bad(messages="x"), UNREADABLE),
    (bad(finish_reason=3), UNREADABLE),
    (LISTED | {"rewards": [1.0]}, "unequal numbers of responses and rewards"),
    (LISTED | {"rewards": None}, "unequal numbers of responses and rewards"),
    (LISTED | {"finish_reasons": ["stop"]}, "unequal numbers of responses and rewards"),
    (LISTED | {"responses": [], "rewards": []}, "no response"),
    (LISTED | {"responses": "ab"}, UNREADABLE),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES, ids=lambda v: repr(v)[:60])
def test_a_bad_line_costs_itself_alone(pair, tmp_path, line, reason):
    done = pair(written(tmp_path / "r.jsonl", [GOOD[0], line, *GOOD[1:]]))
    assert done.refused == [(2, reason)]
    assert done.rows[0]["file"] == str(tmp_path / "r.jsonl")
    assert (done.used, done.pairs) == (3, [("best", "worst")])


@pytest.mark.parametrize(("line", "reason"), BAD_LINES, ids=lambda v: repr(v)[:60])
def test_even_where_it_is_the_first(pair, tmp_path, line, reason):
    done = pair(written(tmp_path / "r.jsonl", [line, *GOOD]))
    assert (done.refused, done.used) == ([(1, reason)], 3)


def test_a_torn_last_line(pair, tmp_path):
    path = written(tmp_path / "r.jsonl", [*GOOD, "{}"])
    path.write_bytes(path.read_bytes()[:-2])
    done = pair(path)
    assert (done.used, done.refused) == (3, [(4, UNREADABLE)])
    path.write_bytes(path.read_bytes()[:-2])  # whole lines, but for the end of the last one
    assert (pair(path).used, pair(path).refused) == (3, [])


def test_null_in_a_list_costs_that_response_alone(pair, tmp_path):
    row = LISTED | {"responses": ["a", None, "c", "d"], "rewards": [3.0, 2.0, None, 1.0]}
    done = pair(written(tmp_path / "r.jsonl", [row]))
    assert done.refused == [(1, "no response"), (1, "no reward")]
    assert (done.used, done.pairs) == (2, [("a", "d")])


@pytest.mark.parametrize("block", [100, 1000, 8 * 2**20])
def test_lines_are_right_in_later_blocks_and_files(pair, tmp_path, monkeypatch, block):
    monkeypatch.setattr(sources, "BLOCK", block)
    lines = [
        GOOD[k % 3] | {"id": f"p{k}", "response": "x" * (k % 90), "prompt": "How?"}
        for k in range(300)
    ]
    wrong = {17: "torn", 90: bad(reward=math.nan), 91: '"', 200: b"\xff", 299: bad(lang="x!")}
    for k, line in wrong.items():
        lines[k - 1] = line
    lines.insert(50, "")  # not a row, but a line
    files = [written(tmp_path / f"{name}.jsonl", lines) for name in "ab"]
    done = pair(*files)
    expected = [17, 91, 92, 201, 300]
    for path in files:
        own = [row["line"] for row in done.rows if row["file"] == str(path)]
        assert sorted(own) == expected
    assert done.used == 2 * (300 - len(wrong))


def test_nothing_is_lost(pair, tmp_path):
    lines = [line for line, _ in BAD_LINES]
    others = [GOOD[0] | {"id": f"q{k}"} for k in range(4)]
    done = pair(written(tmp_path / "r.jsonl", [*lines, *GOOD, *others, "", LISTED]))
    counts = done.summary["responses"]
    assert sum(counts["refused"].values()) == len(lines)
    assert counts["without_prompt"] == 4
    assert counts["used"] == len(GOOD) + 2
    assert [line for line, _ in sorted(done.refused)] == list(range(1, len(lines) + 1))


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + b"\n".join(json.dumps(row).encode() for row in GOOD),
        b"\r\n".join(json.dumps(row).encode() for row in GOOD) + b"\r\n\r\n",
        b"\n\n  \n" + b"\n\t\n\r\n".join(json.dumps(row).encode() for row in GOOD),
        b"".join(b"\xef\xbb\xbf" + json.dumps(row).encode() + b" \n" for row in GOOD),
        b"\n".join(b"  " + json.dumps(row, indent=None).encode() for row in GOOD),
    ],
    ids=["mark", "crlf", "blank", "marks", "spaces"],
)
def test_what_editors_do_to_files_is_no_matter(pair, tmp_path, content):
    (tmp_path / "r.jsonl").write_bytes(content)
    (tmp_path / "p.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(PROMPT).encode() + b"\r\n\n")
    done = pair(tmp_path / "r.jsonl", asked=[tmp_path / "p.jsonl"])
    assert (done.used, done.refused, done.pairs) == (3, [], [("best", "worst")])


def test_two_objects_on_a_line_do_not_shift_the_others(pair, tmp_path):
    two = json.dumps(GOOD[1]) + json.dumps(GOOD[2])
    last = GOOD[1] | {"response": "last", "reward": -1.0}
    done = pair(written(tmp_path / "r.jsonl", [GOOD[0], two, "   ", last]))
    assert (done.refused, done.pairs) == ([(2, UNREADABLE)], [("best", "last")])


def test_an_object_over_several_lines_is_refused(pair, tmp_path):
    lines = json.dumps(GOOD[2], indent=1).splitlines()
    two = json.dumps(GOOD[0]) * len(lines)
    done = pair(written(tmp_path / "r.jsonl", [*lines, two, *GOOD]))
    assert sorted(line for line, _ in done.refused) == list(range(1, len(lines) + 2))
    assert (done.used, done.pairs) == (3, [("best", "worst")])


@pytest.mark.parametrize("deep", ["1" * 5000, "[" * 5000 + "]" * 5000], ids=["number", "nested"])
def test_a_line_that_cannot_be_carried_along_is_named_in_refused(verb, tmp_path, deep):
    line = '{"id": "p", "lang": "en", "response": "x", "reward": -9, "more": ' + deep + "}"
    written(tmp_path / "r.jsonl", [*GOOD, line])
    refused(verb("pair", "r.jsonl", "--prompts", "p.jsonl", "-o", "o"), "r.jsonl")
    assert not (tmp_path / "o").exists()


def test_a_number_may_be_written_as_a_string(pair, tmp_path):
    rows = [row | {"reward": str(row["reward"])} for row in GOOD]
    done = pair(written(tmp_path / "r.jsonl", rows))
    assert (done.used, done.pairs) == (3, [("best", "worst")])
    assert done.summary["responses"]["refused"] == {}


# -- Parquet --------------------------------------------------------------------------------------------


def parquet(path, rows, **options):
    pq.write_table(pa.Table.from_pylist(rows), path, **options)
    return path


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"reward": None}, "no reward"),
        ({"reward": math.nan}, NOT_FINITE),
        ({"reward": -math.inf}, NOT_FINITE),
        ({"id": None}, "no id"),
        ({"lang": None}, "no lang"),
        ({"lang": "en us"}, BAD_TAG),
        ({"response": None}, "no response"),
    ],
    ids=str,
)
def test_a_bad_row_of_parquet_costs_itself_alone(pair, tmp_path, change, reason):
    rows = [GOOD[0], GOOD[0] | change, *GOOD[1:]]
    done = pair(parquet(tmp_path / "r.parquet", rows, row_group_size=1))
    assert done.refused == [(2, reason)]
    assert (done.used, done.pairs) == (3, [("best", "worst")])


def test_rewards_as_strings_in_parquet(pair, tmp_path):
    rows = [row | {"reward": str(row["reward"])} for row in GOOD]
    done = pair(parquet(tmp_path / "r.parquet", rows))
    assert (done.used, done.pairs) == (3, [("best", "worst")])
    done = pair(parquet(tmp_path / "r.parquet", [*rows, rows[0] | {"reward": "good"}]))
    assert (done.used, done.refused) == (3, [(4, "no reward")])


def test_true_is_no_reward_in_parquet_either(verb, tmp_path):
    parquet(tmp_path / "r.parquet", [row | {"reward": row["reward"] > 0} for row in GOOD])
    done = verb("pair", "r.parquet", "--prompts", "p.jsonl", "-o", "o")
    refused(done, "3 x no reward", "r.parquet:1")


def test_lists_in_parquet_that_do_not_fit(pair, tmp_path):
    rows = [LISTED, LISTED | {"rewards": [1.0]}, LISTED | {"responses": [], "rewards": []}]
    done = pair(parquet(tmp_path / "r.parquet", [*rows, LISTED | {"rewards": None}]))
    unequal = "unequal numbers of responses and rewards"
    assert sorted(done.refused) == [(2, unequal), (3, "no response"), (4, unequal)]
    assert done.used == 2


TURNS = [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "so"}]


def test_conversations_in_parquet_that_are_none(pair, tmp_path):
    whole = {"id": "p", "lang": "en", "reward_score": 1.0, "messages": TURNS}
    torn = whole | {"messages": [{"role": "user", "content": None}, TURNS[1]]}
    unanswered = whole | {"messages": TURNS[:1]}
    done = pair(parquet(tmp_path / "r.parquet", [whole, torn, unanswered]), asked=())
    assert sorted(done.refused) == [(2, "no response"), (3, "no response")]
    assert done.used == 1


def test_a_row_with_a_prompt_of_no_turns_has_none(pair, tmp_path):
    rows = [row | {"prompt": []} for row in GOOD]
    path = written(tmp_path / "r.jsonl", [*rows, GOOD[0] | {"id": "q", "prompt": "Own?"}])
    assert pair(path).used == 4
    done = pair(path, asked=())
    assert done.used == 1
    reason = "responses without a prompt"
    assert done.unmatched == [{"reason": reason, "id": "p", "lang": "en", "responses": 3}]


@pytest.mark.parametrize("prompt", [[], ["How?"], [{"role": "user", "content": None}], 5.5])
def test_prompts_in_parquets_rows_that_are_none(pair, tmp_path, prompt):
    rows = [{**row, "prompt": prompt} for row in GOOD]
    path = parquet(tmp_path / "r.parquet", rows)
    if prompt == 5.5:  # read as the text "5.5", which is not what the file of prompts asks
        assert pair(path, asked=()).used == 3
        with pytest.raises(DataError, match="another prompt"):
            pair(path)
    else:
        assert pair(path).used == 3  # there is a prompt in the file of prompts
        both = written(tmp_path / "r.jsonl", [row | {"prompt": "How?"} for row in GOOD])
        done = pair(path, both, asked=())
        assert done.used == 3
        assert [row["responses"] for row in done.unmatched] == [3] or done.unmatched == []


def test_a_parquet_file_that_was_cut_off(verb, tmp_path):
    path = parquet(tmp_path / "r.parquet", GOOD)
    path.write_bytes(path.read_bytes()[:-100])
    done = verb("pair", "r.parquet", "--prompts", "p.jsonl", "-o", "o")
    refused(done, "r.parquet is not a whole Parquet file")
    parquet(tmp_path / "p.parquet", [PROMPT]).write_bytes(path.read_bytes())
    done = verb("pair", "r.jsonl", "--prompts", "p.parquet", "-o", "o")
    refused(done, "p.parquet cannot be read")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("compression", ["none", "snappy"])
def test_a_parquet_file_that_is_torn_in_the_middle(verb, tmp_path, compression):
    rows = [GOOD[k % 3] | {"response": f"answer {k}", "reward": k} for k in range(4000)]
    path = parquet(tmp_path / "r.parquet", rows, compression=compression)
    content = bytearray(path.read_bytes())
    content[500:5000] = b"\xff" * 4500
    path.write_bytes(content)
    done = verb("pair", "r.parquet", "--prompts", "p.jsonl", "-o", "o")
    refused(done, "r.parquet is not a whole Parquet file")
    assert not (tmp_path / "o").exists()


# -- Prompts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        '{"id": "q", "lang": "en", "prom',
        '{"id": "q", "lang": "en", "prompt": "café"}'.encode("latin-1"),
        "[1]",
        '{"lang": "en", "prompt": "x"}',
        '{"id": 1.5, "lang": "en", "prompt": "x"}',
        '{"id": "q", "prompt": "x"}',
        '{"id": "q", "lang": "no way", "prompt": "x"}',
        '{"id": "q", "lang": "en"}',
        '{"id": "q", "lang": "en", "prompt": 5}',
        '{"id": "q", "lang": "en", "prompt": []}',
        '{"id": "q", "lang": "en", "prompt": "half \\ud800"}',
        '{"id": "q", "lang": "en", "messages": "x"}',
        '{"id": "q", "lang": "en", "messages": ["x"]}',
        '{"id": "q", "lang": "en", "messages": {"role": "user"}}',
        '{"id": "q", "lang": "en", "messages": [{"role": "assistant", "content": "x"}]}',
        "[" * 100_000,
    ],
    ids=lambda line: line[:50],
)
def test_a_bad_prompt_costs_itself_alone(pair, tmp_path, line):
    asked = written(tmp_path / "p.jsonl", [line, "", PROMPT, line])
    done = pair(written(tmp_path / "r.jsonl", GOOD), asked=[asked])
    assert done.refused == [(1, "unusable prompt"), (4, "unusable prompt")]
    assert done.rows[0]["file"] == str(asked)
    assert done.rows[0]["detail"]
    assert done.summary["prompts"]["read"] == 1
    assert done.summary["responses"]["refused"] == {}
    assert done.pairs == [("best", "worst")]


def test_prompts_and_responses_without_each_other(pair, tmp_path):
    others = [
        GOOD[k] | {"id": id, "lang": lang} for id, lang, k in (("q", "en", 0), ("p", "es", 1))
    ]
    asked = [PROMPT, PROMPT | {"id": "r"}, PROMPT | {"lang": "fr"}, PROMPT | {"prompt": "How?\n"}]
    done = pair(
        written(tmp_path / "r.jsonl", [*GOOD, *others, others[0]]),
        asked=[written(tmp_path / "p.jsonl", asked)],
    )
    lone, unasked = "prompt without responses", "responses without a prompt"
    assert sorted(done.unmatched, key=lambda row: (row["reason"], row["id"], row["lang"])) == [
        {"reason": lone, "id": "p", "lang": "fr"},
        {"reason": lone, "id": "r", "lang": "en"},
        {"reason": unasked, "id": "p", "lang": "es", "responses": 1},
        {"reason": unasked, "id": "q", "lang": "en", "responses": 2},
    ]
    assert done.summary["responses"]["without_prompt"] == 3
    assert done.summary["prompts"] == {
        "read": 3,
        "refused": 0,
        "standing_twice": 1,
        "without_responses": 2,
    }
    assert done.pairs == [("best", "worst")]
    assert read(tmp_path / "out/pairs-en.jsonl")[0]["prompt"][0]["content"] == "How?"


def test_a_prompt_with_two_texts_is_refused_and_costs_no_row_that_has_its_own(pair, tmp_path):
    asked = [PROMPT, PROMPT | {"id": "q"}, PROMPT | {"prompt": "Why?"}, PROMPT]
    unknown = [GOOD[0] | {"id": "q"}, GOOD[1] | {"id": "q"}]
    own = [row | {"prompt": "Why?"} for row in GOOD]
    files = written(tmp_path / "p.jsonl", asked), written(tmp_path / "r.jsonl", [*unknown, *own])
    done = pair(files[1], asked=[files[0]])
    assert done.refused == [(1, "unusable prompt"), (3, "unusable prompt")]
    assert [row["detail"].partition(" ")[0] for row in done.rows] == [
        f"{files[0]}:3",
        f"{files[0]}:1",
    ]
    assert done.summary["prompts"]["standing_twice"] == 1
    assert done.pairs == [("best", "worst")] * 2
    alone = pair(written(tmp_path / "r.jsonl", [*unknown, *GOOD]), asked=[files[0]])
    assert alone.used == 2  # what the others answer is not known
    assert alone.summary["responses"]["without_prompt"] == 3


# -- Responses to another prompt ------------------------------------------------------------------------

OTHER = "answers another prompt than its pool"
SYSTEM = {"role": "system", "content": "Be brief."}


def asking(prompt, response="x", reward=9.0):
    return {"id": "p", "lang": "en", "prompt": prompt, "response": response, "reward": reward}


def turns(*contents):
    roles = ["user", "assistant"] * len(contents)
    return [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)]


@pytest.mark.parametrize("name", ["r.jsonl", "r.parquet"])
@pytest.mark.parametrize(
    "asked", [turns("How?"), [SYSTEM, *turns("Why?")], turns("Why?", "x", "How?")]
)
def test_an_answer_in_turns_that_ask_something_else_than_its_prompt_is_refused(
    pair, tmp_path, name, asked
):
    answered = [*asked, {"role": "assistant", "content": "z"}]
    own = {"id": "p", "lang": "en", "prompt": "Why?", "response": None, "reward": 2.0}
    rows = [
        own | {"messages": answered},
        own | {"messages": turns("Why?", "x")},
        asking("Why?", "y", 1.0) | {"messages": None},
    ]
    make = parquet if name.endswith("parquet") else written
    done = pair(make(tmp_path / name, rows), asked=())
    assert done.refused == [(1, "prompt and messages are not the same")]
    assert done.pairs == [("x", "y")]


@pytest.mark.parametrize("name", ["r.jsonl", "r.parquet"])
@pytest.mark.parametrize(
    "other",
    [
        asking("Why?"),
        asking(turns("Why?")),
        asking([SYSTEM, *turns("How?")]),
        asking(turns("Hi", "Hello", "How?")),
        LISTED | {"prompt": "Why?"},
        {"id": "p", "lang": "en", "messages": turns("Why?", "x"), "reward_score": 9.0},
        {"id": "p", "lang": "en", "messages": turns("Hi", "x", "How?", "x"), "reward": 9.0},
        {"id": "p", "lang": "en", "messages": [SYSTEM, *turns("How?", "x")], "reward": 9.0},
        asking("Why?") | {"messages": turns("How?")},
    ],
    ids=str,
)
def test_a_response_to_another_prompt_is_refused_with_both_places(pair, tmp_path, name, other):
    first = written(tmp_path / "a.jsonl", [asking("How?", "best", 3.0), GOOD[1] | turned("How?")])
    rows = [other, asking(" How?\n", "middle", 1.0), other]
    make = parquet if name.endswith("parquet") else written
    second = make(tmp_path / name, rows if make is written else [other, other])
    done = pair(first, second, asked=())
    assert done.refused == [(1, OTHER), (3 if make is written else 2, OTHER)]
    assert {row["file"] for row in done.rows} == {str(second)}
    assert all(row["detail"].endswith(f" {first}:1") for row in done.rows)
    assert done.pairs == [("best", "worst")]
    assert done.used == (3 if make is written else 2)


def turned(prompt):
    """The same prompt as turns, with the answer at their end."""
    return {"messages": turns(prompt, "unused")}


@pytest.mark.parametrize(
    "row",
    [
        asking("C\u00f3mo?"),
        asking("Co\u0301mo?"),
        asking(turns("C\u00f3mo?")),
        {"id": "p", "lang": "en", "messages": turns("C\u00f3mo?", "x"), "reward": 9.0},
        LISTED | {"prompt": "C\u00f3mo? "},
        asking("C\u00f3mo?") | {"messages": turns("Something else")},
    ],
    ids=str,
)
def test_one_prompt_in_several_forms_is_one_prompt(pair, tmp_path, row):
    rows = [asking("C\u00f3mo?"), row, asking("C\u00f3mo?")]
    asked = written(tmp_path / "p.jsonl", [PROMPT | {"prompt": "C\u00f3mo?"}] * 2)
    for prompts in ((), (asked,)):
        done = pair(written(tmp_path / "r.jsonl", rows), asked=prompts, strict=True)
        assert done.refused == []
        assert done.used == 2 + len(row.get("responses", ["x"]))


def test_rows_that_know_another_prompt_than_the_file_of_prompts_are_refused(pair, tmp_path):
    path = written(tmp_path / "r.jsonl", [asking("Why?"), *GOOD, asking("How?", "best", 4.0)])
    asked = written(tmp_path / "p.jsonl", ["", PROMPT])
    done = pair(path, asked=[asked])
    assert done.refused == [(1, OTHER)]
    assert done.rows[0]["detail"].endswith(f" {asked}:2")
    assert done.used == 4


def test_refused_responses_move_no_calibration(tmp_path):
    """Neither a pool's target nor the level of a language knows of what answers another prompt."""
    rows = [asking("How?", f"r{k}", float(k)) for k in range(6)]
    found = []
    for name, more in (("one", []), ("two", [asking("Why?", "far", 1000.0)])):
        path = written(tmp_path / f"{name}.jsonl", [*rows, *more])
        config = PairConfig(scope="multilingual", normalise="zscore")
        summary = pair_files([path], tmp_path / name, config=config)
        found.append((read(tmp_path / name / "pairs.jsonl"), summary["pools"]))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "block",
    [40, 1000],
)
def test_the_first_row_of_the_first_file_gives_a_pool_its_prompt(
    pair, tmp_path, monkeypatch, block
):
    monkeypatch.setattr(sources, "BLOCK", block)
    rows = [LISTED | {"prompt": "How?"}, asking("Why?", "y", 1.0), asking("How?", "c", 0.0)]
    files = [written(tmp_path / f"{k}.jsonl", rows[::k]) for k in (1, -1)]
    done = pair(*files, asked=())
    assert done.refused == [(2, OTHER), (2, OTHER)]
    assert done.used == 6


# -- Strict ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("responses", "prompts", "said"),
    [
        ([*GOOD, "torn"], [PROMPT], ["1 x unreadable", "r.jsonl:4", "not a line of JSON"]),
        ([*GOOD, bad(lang="x!")], [PROMPT], [f"1 x {BAD_TAG}", "r.jsonl:4"]),
        (GOOD, [PROMPT, "torn"], ["1 x unusable prompt", "p.jsonl:2"]),
        (GOOD, [PROMPT, PROMPT | {"id": "q"}], ["1 x prompt without responses", "q en"]),
        ([*GOOD, bad(id="q")], [PROMPT], ["1 x responses without a prompt", "q en"]),
        ([*GOOD, asking("Why?")], [PROMPT], [f"1 x {OTHER}", "r.jsonl:4", "p.jsonl:1"]),
        (
            [*GOOD, *[asking("How?")] * 2],
            [PROMPT, PROMPT | {"prompt": "Why?"}],
            ["p.jsonl:1", "p.jsonl:2"],
        ),
    ],
)
def test_strict_makes_an_error_of_what_is_left_out(verb, tmp_path, responses, prompts, said):
    written(tmp_path / "r.jsonl", responses)
    written(tmp_path / "p.jsonl", prompts)
    assert verb("pair", "r.jsonl", "--prompts", "p.jsonl", "-o", "o").returncode == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "o").iterdir()}
    for out in ("new", "o"):
        done = verb("pair", "r.jsonl", "--prompts", "p.jsonl", "-o", out, "--strict")
        refused(done, *said, "--strict")
    assert not (tmp_path / "new").exists()
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "o").iterdir()}


def test_strict_is_content_with_what_is_right(verb):
    assert verb("pair", "r.jsonl", "--prompts", "p.jsonl", "-o", "o", "--strict").returncode == 0


# -- Files and folders ----------------------------------------------------------------------------------


def test_a_file_that_does_not_exist(croco, tmp_path):
    done = croco("pair", "gone.jsonl", "-o", "o")
    refused(done, "gone.jsonl cannot be read: No such file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gone.parquet"], "gone.parquet cannot be read: No such file"),
        (["r.csv"], "r.csv: give a file that ends in .jsonl or .parquet"),
        (["folder"], "folder: give a file"),
        (["folder.jsonl"], "folder.jsonl cannot be read"),
        (["empty.jsonl"], "no response can be used"),
        (["empty.parquet"], "empty.parquet is not a whole Parquet file"),
        (["nothing.parquet"], "no response can be used"),
        (["other.parquet"], "2 x no id"),
        (["r.jsonl", "--prompts", "gone.jsonl"], "gone.jsonl cannot be read"),
        (["r.jsonl", "--prompts", "p.csv"], "p.csv: give a file that ends in .jsonl or .parquet"),
        (["r.jsonl"], "1 x responses without a prompt (first: p en)"),
        (["p.jsonl", "--prompts", "p.jsonl"], "1 x no response (first: p.jsonl:1)"),
    ],
)
def test_files_that_are_no_responses(verb, tmp_path, arguments, said):
    for name in ("empty.jsonl", "empty.parquet", "r.csv", "p.csv"):
        (tmp_path / name).touch()
    for name in ("folder", "folder.jsonl"):
        (tmp_path / name).mkdir()
    pq.write_table(pa.Table.from_pylist(GOOD).slice(0, 0), tmp_path / "nothing.parquet")
    parquet(tmp_path / "other.parquet", [{"a": 1}, {"a": 2}])
    prompts = (
        [] if "--prompts" in arguments or arguments == ["r.jsonl"] else ["--prompts", "p.jsonl"]
    )
    refused(verb("pair", *arguments, *prompts, "-o", "o"), said)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("out", ["p.jsonl", "p.jsonl/deep"])
def test_a_folder_that_cannot_be_one(verb, out):
    refused(verb("pair", "r.jsonl", "--prompts", "p.jsonl", "-o", out), out)


# -- Options --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "option",
    [
        ("--rejected", "mean-2stds"),
        ("--chosen", "best"),
        ("--scope", "x"),
        ("--normalise", "zscore"),
        ("--normalise", "mean"),
        ("--prompt-language", "en"),
        ("--near-duplicates", "2"),
        ("--threshold", "-0.5"),
        ("--min-gap", "-1"),
        ("--max-length-ratio", "0.5"),
        ("--cut-off", "keep"),
        ("--empty", "yes"),
        ("--wrong-language", "no"),
        ("--pairs-per-pool", "0"),
        ("--format", "csv"),
        ("--lang", "klingon!"),
        ("--lang", "mul"),
        ("--identifier", "py3langit"),
    ],
    ids=" ".join,
)
def test_a_value_that_is_wrong_is_told_with_its_option(verb, tmp_path, option):
    done = verb("pair", "r.jsonl", "--prompts", "p.jsonl", "-o", "o", *option)
    refused(done, option[0], option[1].lstrip("-"))
    assert len(done.stderr) < 300
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["r.jsonl", "-o", "o", "--pairs-per-pool", "x"], "--pairs-per-pool"),
        (["r.jsonl", "-o", "o", "--min-gap", "x"], "--min-gap"),
        (["r.jsonl", "-o", "o", "--bogus"], "--bogus"),
        (["r.jsonl", "--prompts", "p.jsonl"], "--out"),
        (["-o", "o"], "RESPONSES"),
        (["r.jsonl", "-o", "o", "--prompts"], "--prompts"),
    ],
)
def test_a_usage_error_exits_2(verb, tmp_path, arguments, said):
    done = verb("pair", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "o").exists()
