"""`croco pair`: scored responses of the user's own in, the published recipe's pairs in TRL's format out."""

import json
import math
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from statistics import fmean, pstdev
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from croco.cli_pair import several
from croco.errors import DataError
from croco.pairing import sources, spool
from croco.pairing.files import Options, pair_files
from croco.recipe import PairConfig

LANGS = ("en", "es", "sw")
TAGS = (*LANGS, "en-GB", "en-US", "pt-BR")
#: What every row of pairs has, in this order.
COLUMNS = ["prompt", "chosen", "rejected", "id", "prompt_lang", "chosen_lang", "rejected_lang"]
COLUMNS += ["chosen_reward", "rejected_reward", "pool_size"]


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def one(response, reward, id="p", lang="en", **more):
    return {"id": id, "lang": lang, "response": response, "reward": reward} | more


def prompts_for(rows):
    keys = sorted({(str(row["id"]), row["lang"]) for row in rows})
    return [{"id": id, "lang": lang, "prompt": f"{lang} asks {id}"} for id, lang in keys]


def drawn(seed=0, prompts=9, reward=np.random.Generator.normal):
    """Scored responses in random order, from 1 to 24 a pool."""
    draw = np.random.default_rng(seed)
    rows = [
        one(f"{lang}:answer {id} {k}", float(reward(draw)), f"p{id}", lang)
        for id in range(prompts)
        for lang in LANGS
        for k in range(int(draw.integers(1, 25)))
    ]
    return [rows[k] for k in draw.permutation(len(rows))]


def write(path, rows):
    """Rows as JSON Lines or Parquet, by the name; text stands as it is."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100)
    else:
        lines = (
            row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows
        )
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def read(path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def pair(tmp_path):
    """Pairs rows in this process: the summary, with the folder and all pairs."""

    def call(rows, *, prompts=None, name="responses.jsonl", out="out", pairing=None, **options):
        prompts = prompts_for(rows) if prompts is None else prompts
        asked = write(tmp_path / "prompts.jsonl", prompts)
        files = [write(tmp_path / name, rows)]
        return run(files, [asked], tmp_path / out, pairing, **options)

    return call


def run(files, asked, out, pairing=None, notify=lambda *_: None, **options):
    config = PairConfig(**(pairing or {}))
    summary = pair_files(
        files, out, prompts=asked, config=config, options=Options(**options), notify=notify
    )
    files = sorted(out.glob("pairs.*")) + [p for lang in TAGS for p in out.glob(f"pairs-{lang}.*")]
    made = [row for path in files for row in read(path)]
    return SimpleNamespace(summary=summary, folder=out, pairs=made)


def sides(rows):
    """Each pair as id and what was chosen and rejected."""
    return {
        (
            row["id"],
            row["chosen_lang"],
            row["rejected_lang"],
            row["chosen"][-1]["content"],
            row["rejected"][-1]["content"],
        )
        for row in rows
    }


# -- The pairs are those of the definition --------------------------------------------------------------


def target(name, rewards):
    if name == "mean-2std":
        return fmean(rewards) - 2 * pstdev(rewards)
    return min(rewards) if name == "min" else float(np.percentile(rewards, 25))


def by_definition(rows, scope, rejected):
    """The pairs of the published recipe, written from its text; of two equally far, the lower."""
    pools = defaultdict(list)
    for row in rows:
        pools[row["id"] if scope == "multilingual" else (row["id"], row["lang"])].append(row)
    found = set()
    for pool in pools.values():
        goal = target(rejected, [row["reward"] for row in pool])
        best = max(pool, key=lambda row: row["reward"])
        lower = [row for row in pool if row["reward"] < best["reward"]]
        if lower:
            worse = min(lower, key=lambda row: (abs(row["reward"] - goal), row["reward"]))
            found.add(
                (best["id"], best["lang"], worse["lang"], best["response"], worse["response"])
            )
    return found


def as_lists(rows):
    pools = defaultdict(list)
    for row in rows:
        pools[row["id"], row["lang"]].append(row)
    return [
        {"id": id, "lang": lang}
        | {f"{name}s": [row[name] for row in pool] for name in ("response", "reward")}
        for (id, lang), pool in pools.items()
    ]


def as_messages(rows):
    return [
        {"id": row["id"], "lang": row["lang"], "reward_score": row["reward"]}
        | {"messages": [user(f"{row['lang']} asks {row['id']}"), assistant(row["response"])]}
        for row in rows
    ]


FORMS = {
    "jsonl": (list, "r.jsonl"),
    "parquet": (list, "r.parquet"),
    "lists": (as_lists, "r.jsonl"),
    "lists-parquet": (as_lists, "r.parquet"),
    "messages": (as_messages, "r.jsonl"),
    "messages-parquet": (as_messages, "r.parquet"),
}


@pytest.mark.parametrize("scope", ["monolingual", "multilingual"])
@pytest.mark.parametrize("rejected", ["mean-2std", "q1", "min"])
@pytest.mark.parametrize("form", FORMS)
def test_pairs_are_those_of_the_definition(pair, scope, rejected, form):
    rows = drawn()
    shape, name = FORMS[form]
    done = pair(
        shape(rows),
        prompts=prompts_for(rows),
        name=name,
        pairing={"scope": scope, "rejected": rejected},
    )
    expected = by_definition(rows, scope, rejected)
    assert sides(done.pairs) == expected
    assert len(done.pairs) == len(expected) == done.summary["pairs"]["made"]
    assert done.summary["responses"]["used"] == len(rows)


PAIRINGS = [
    {},
    {"rejected": "random", "pairs_per_pool": 3},
    {"chosen": "top-3", "scope": "multilingual", "normalise": "rank"},
    {"scope": "multilingual", "rejected": "q1", "prompt_language": "random"},
    {"filters": {"near_duplicates": 0.95, "min_gap": 1.5}},
]


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_order_files_blocks_and_parts_change_nothing(tmp_path, monkeypatch, pairing):
    rows = drawn(3, reward=lambda draw: float(draw.integers(4)))  # ties everywhere
    prompts = write(tmp_path / "prompts.jsonl", prompts_for(rows))
    whole = run([write(tmp_path / "r.jsonl", rows)], [prompts], tmp_path / "whole", pairing)
    assert len(whole.pairs) >= 9

    pieces = [write(tmp_path / f"{k}.jsonl", rows[k::3][::-1]) for k in range(2)]
    pieces.append(write(tmp_path / "2.parquet", rows[2::3][::-1]))
    split = run(pieces[::-1], [prompts], tmp_path / "split", pairing)
    files = sorted(p.name for p in whole.folder.glob("pairs*"))
    assert files == sorted(p.name for p in split.folder.glob("pairs*"))
    for name in files:
        assert (split.folder / name).read_bytes() == (whole.folder / name).read_bytes()

    monkeypatch.setattr(sources, "BLOCK", 256)
    monkeypatch.setattr(spool, "PART_BYTES", 4096)
    told = []
    parts = run(pieces, [prompts], tmp_path / "parts", pairing, notify=lambda *a: told.append(a))
    assert max(total for stage, _, total, _ in told if stage == "pair") > 4
    assert sorted(map(repr, parts.pairs)) == sorted(map(repr, whole.pairs))
    assert parts.summary == whole.summary == split.summary


# -- What comes out -------------------------------------------------------------------------------------


def test_a_pair_is_what_trl_takes(pair):
    rows = [one("worst", -3.0), one("best", 2.5), one("middle", 1.0)]
    (made,) = pair(rows).pairs
    assert list(made) == COLUMNS
    assert made == {
        "prompt": [user("en asks p")],
        "chosen": [assistant("best")],
        "rejected": [assistant("worst")],
        "id": "p",
        "prompt_lang": "en",
        "chosen_lang": "en",
        "rejected_lang": "en",
        "chosen_reward": 2.5,
        "rejected_reward": -3.0,
        "pool_size": 3,
    }


def test_there_is_a_file_per_language_or_one_over_languages(pair):
    rows = drawn()
    names = [p.name for p in sorted(pair(rows).folder.glob("pairs*"))]
    assert names == ["pairs-en.jsonl", "pairs-es.jsonl", "pairs-sw.jsonl"]
    many = pair(rows, out="many", pairing={"scope": "multilingual"})
    assert [p.name for p in many.folder.glob("pairs*")] == ["pairs.jsonl"]


def test_parquet_holds_the_same_rows(pair):
    rows = [row | ({"note": row["response"][-1]} if k % 3 else {}) for k, row in enumerate(drawn())]
    rows[5]["score"] = math.nan
    text = pair(rows, sft=True)
    table = pair(rows, out="table", form="parquet", sft=True)
    assert not list(table.folder.glob("*-*.jsonl"))
    for path in (*text.folder.glob("pairs-*"), *text.folder.glob("sft-*")):
        other = read(table.folder / f"{path.stem}.parquet")
        some = [{k: v for k, v in row.items() if v is not None} for row in other]
        assert some == [{k: v for k, v in row.items() if v is not None} for row in read(path)]
    assert any("chosen_note" in row for row in text.pairs)


def test_parquet_takes_no_column_of_several_types(pair, tmp_path):
    rows = [one("a", 1.0, note=1), one("b", 0.0, note="text")]
    rows += [one("a", 1.0, id="q", note="text"), one("b", 0.0, id="q", note=1)]
    with pytest.raises(DataError, match=r"carried along.*write jsonl"):
        pair(rows, form="parquet")
    assert not (tmp_path / "out").exists()


def test_what_is_no_number_is_null_in_what_is_carried_along(pair):
    nested = {"scores": [1.0, math.inf], "of": {"x": math.nan}}
    rows = [one("a", 1.0, extra=math.nan, deep=nested), one("b", 0.0, extra=2.0)]
    done = pair(rows)
    assert "NaN" not in (done.folder / "pairs-en.jsonl").read_text()
    (made,) = done.pairs
    assert made["chosen_deep"] == {"scores": [1.0, None], "of": {"x": None}}
    assert made.get("chosen_extra") is None
    assert made["rejected_extra"] == 2.0


def test_half_a_character_in_what_is_carried_along_costs_no_row(pair):
    text = '{"id": "p", "lang": "en", "response": "b", "reward": 0.0, "note": "x \\ud800"}'
    done = pair([one("a", 1.0), text], prompts=prompts_for([one("a", 1.0)]))
    assert done.summary["responses"]["used"] == 2
    assert done.pairs[0]["rejected_note"] == "x ?"


def test_other_columns_are_carried_along(pair):
    rows = [one("a", 1.0, seed=3, tags=["x"], finish_reason="stop"), one("b", 0.0, seed=4)]
    (made,) = pair(rows).pairs
    more = {k: v for k, v in made.items() if k not in COLUMNS}
    assert more == {
        "chosen_seed": 3,
        "chosen_tags": ["x"],
        "chosen_finish_reason": "stop",
        "rejected_seed": 4,
    }


@pytest.mark.parametrize("name", ["r.jsonl", "r.parquet"])
def test_a_row_of_lists_carries_each_responses_own_values(pair, name):
    row = {"id": "p", "lang": "en", "responses": ["a", "b"], "rewards": [0.5, 1.5], "run": "r1"}
    row |= {"seeds": [7, 8], "finish_reasons": ["length", "stop"]}
    (made,) = pair([row], name=name).pairs
    assert (made["chosen_seeds"], made["rejected_seeds"]) == (8, 7)
    assert (made["chosen_finish_reason"], made["rejected_finish_reason"]) == ("stop", "length")
    assert made["chosen_run"] == made["rejected_run"] == "r1"


def test_the_best_responses_for_sft(pair):
    rows = [one("best", 1.0, completion="not this", note="n"), one("worst", 0.0)]
    rows += [one("cut", 9.0, id="q", finish_reason="length"), one("whole", 1.0, id="q")]
    rows += [one("lone", 5.0, id="r"), one("tie a", 1.0, id="s"), one("tie b", 1.0, id="s")]
    done = pair(rows, sft=True)
    best = read(done.folder / "sft-en.jsonl")
    assert [row["completion"] for row in best] == [
        [assistant(text)] for text in ("best", "whole", "lone", "tie a")
    ]
    assert best[0]["prompt"] == [user("en asks p")]
    assert {k: best[0][k] for k in ("id", "lang", "reward", "note")} == {
        "id": "p",
        "lang": "en",
        "reward": 1.0,
        "note": "n",
    }
    many = pair(rows, sft=True, out="many", pairing={"scope": "multilingual"})
    assert (many.folder / "sft.jsonl").exists()
    assert not (many.folder / "sft-en.jsonl").exists()
    assert not list(pair(rows, out="none").folder.glob("sft*"))


def test_several_pairs_of_a_pool_share_no_text(pair):
    rows = [one(f"r{k}", float(k)) for k in range(7)]
    done = pair(rows, pairing={"pairs_per_pool": 3, "rejected": "min"})
    taken = [(row["chosen_reward"], row["rejected_reward"]) for row in done.pairs]
    assert taken == [(6.0, 0.0), (5.0, 1.0), (4.0, 2.0)]


def test_every_pool_is_told_of(pair):
    rows = drawn()
    table = read(pair(rows, pairing={"filters": {"min_gap": 3}}).folder / "pools.parquet")
    assert len(table) == 9 * len(LANGS)
    for pool in table:
        rewards = [r["reward"] for r in rows if (r["id"], r["lang"]) == (pool["id"], pool["lang"])]
        assert pool["pool_size"] == len(rewards)
        assert sorted(pool["scores"]) == sorted(rewards)
        assert pool["pool_mean"] == pytest.approx(fmean(rewards))
        assert pool["pool_std"] == pytest.approx(pstdev(rewards))
        assert (pool["pool_min"], pool["pool_max"]) == (min(rewards), max(rewards))
        assert pool["fallback"] == (
            len(rewards) > 1 and target("mean-2std", rewards) < min(rewards)
        )
        assert (pool["reason"] == "") == (pool["pairs"] == 1)
    assert {pool["pairs"] for pool in table} == {0, 1}


def test_the_verb_says_what_it_made(croco, tmp_path):
    rows = [one("a", 1.0), one("b", 0.0), one("c", 1.0, lang="es"), one("no", None)]
    responses = write(tmp_path / "r.jsonl", rows)
    prompts = write(tmp_path / "p.jsonl", prompts_for(rows))
    done = croco("pair", responses, "--prompts", prompts, "-o", "out/deep", check=0)
    assert done.stdout == "out/deep/pairs-en.jsonl\n"
    assert "1 pairs of 2 pools, 3 responses" in done.stderr
    assert "1 pools without a pair: it has one response only" in done.stderr
    assert "1 rows refused: no reward" in done.stderr
    names = {p.name for p in (tmp_path / "out/deep").iterdir()}
    ledgers = {"refused.jsonl", "unmatched.jsonl", "filtered.jsonl"}
    assert names == {"pairs-en.jsonl", "pools.parquet", "summary.json"} | ledgers


@pytest.mark.model
def test_trl_takes_the_files(pair, tmp_path, tiny_tokenizer):
    from datasets import load_dataset
    from trl import DPOTrainer
    from trl.data_utils import apply_chat_template, is_conversational

    rows = [row | ({"note": "n"} if k % 2 else {}) for k, row in enumerate(drawn())]
    args = SimpleNamespace(dataset_num_proc=None, max_length=None, truncation_mode="keep_start")
    for form in ("jsonl", "parquet"):
        folder = pair(rows, out=form, form=form, sft=True).folder
        kind = "json" if form == "jsonl" else form
        found, best = (
            load_dataset(
                kind,
                data_files=[str(p) for p in sorted(folder.glob(f"{name}-*"))],
                split="train",
                cache_dir=str(tmp_path / "cache"),
            )
            for name in ("pairs", "sft")
        )
        assert is_conversational(found[0])
        assert is_conversational(best[0])
        text = apply_chat_template(found[0], tiny_tokenizer)
        assert text["prompt"] == f"<user>{found[0]['prompt'][0]['content']}<assistant>"
        assert text["chosen"] == f"{found[0]['chosen'][0]['content']}<end>"
        ready = DPOTrainer._prepare_dataset(None, found, tiny_tokenizer, args, "train")
        assert len(ready) == len(by_definition(rows, "monolingual", "mean-2std"))
        assert all(row["prompt_ids"] and row["chosen_ids"] and row["rejected_ids"] for row in ready)
        assert ready[0]["chosen_ids"] != ready[0]["rejected_ids"]


@pytest.fixture
def tiny_tokenizer():
    """One token a character, and a chat template."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("trl")
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    letters = {chr(k): k for k in range(256)}
    inner = Tokenizer(models.WordLevel(letters, chr(0)))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="~")
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'assistant' %}<assistant>{{ m.content }}<end>"
        "{% else %}<{{ m.role }}>{{ m.content }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    return tokenizer


# -- What goes in ---------------------------------------------------------------------------------------

ASKED = [user("How?")]
SYSTEM = [{"role": "system", "content": "Be brief."}, *ASKED]
LISTED = {"responses": ["a", "b"], "rewards": [1.0, 0.0]}


@pytest.mark.parametrize("name", ["r.jsonl", "r.parquet"])
@pytest.mark.parametrize(
    ("rows", "prompt"),
    [
        ([{"response": "a", "reward": 1.0, "prompt": "How?"}], ASKED),
        ([{"response": "a", "reward": 1.0, "prompt": SYSTEM}], SYSTEM),
        ([{"response": "a", "reward": 1.0, "messages": ASKED}], ASKED),
        ([{"response": "a", "reward": 1.0, "messages": [*SYSTEM, assistant("a")]}], SYSTEM),
        ([{"messages": [*SYSTEM, assistant("a")], "reward_score": 1.0}], SYSTEM),
        ([{"messages": [*ASKED, assistant("x"), *ASKED, assistant("a")], "reward": 1.0}], None),
        ([LISTED | {"prompt": "How?"}], ASKED),
        ([LISTED | {"prompt": SYSTEM}], SYSTEM),
        ([LISTED | {"messages": SYSTEM}], SYSTEM),
    ],
)
def test_the_prompt_may_stand_in_the_responses_row(pair, name, rows, prompt):
    if "responses" not in rows[0]:
        second = json.loads(json.dumps(rows[0]).replace('"a"', '"b"').replace("1.0", "0.0"))
        rows = [rows[0], second]
    (made,) = pair([{"id": "p", "lang": "en"} | row for row in rows], prompts=[], name=name).pairs
    assert made["prompt"] == (prompt or [*ASKED, assistant("x"), *ASKED])
    assert (made["chosen"], made["rejected"]) == ([assistant("a")], [assistant("b")])


def test_a_file_of_prompts_goes_before_the_rows_own(pair):
    rows = [one("a", 1.0, prompt=" en asks p"), one("b", 0.0, prompt="en asks p\n")]
    assert pair(rows).pairs[0]["prompt"] == [user("en asks p")]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    "asked", [{"prompt": "How?"}, {"messages": ASKED}, {"messages": [*ASKED, assistant("thus")]}]
)
def test_prompts_are_texts_or_messages(tmp_path, suffix, asked):
    rows = write(tmp_path / "r.jsonl", [one("a", 1.0), one("b", 0.0)])
    prompts = write(tmp_path / f"p.{suffix}", [{"id": "p", "lang": "en"} | asked])
    assert run([rows], [prompts], tmp_path / "out").pairs[0]["prompt"] == ASKED


@pytest.mark.parametrize("name", ["r.jsonl", "r.parquet"])
def test_ids_may_be_numbers(pair, tmp_path, name):
    rows = [one("a", 1.0, id=7), one("b", 0.0, id=7), one("a", 1.0, id=8), one("b", 0.0, id=8)]
    prompts = [{"id": 7, "lang": "en", "prompt": "x"}, {"id": "8", "lang": "en", "prompt": "y"}]
    done = pair(rows, prompts=prompts, name=name)
    assert [(row["id"], row["prompt"]) for row in done.pairs] == [
        ("7", [user("x")]),
        ("8", [user("y")]),
    ]


def test_ids_may_be_numbers_and_texts(pair):
    rows = [one("a", 1.0, id=7), one("b", 0.0, id="7"), one("c", -9.0, id=2**70)]
    done = pair(rows)
    assert sides(done.pairs) == {("7", "en", "en", "a", "b")}
    assert done.summary["responses"]["used"] == 3


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["b", "a"]).dictionary_encode(),
        pa.array(["b", "a"], pa.large_string()),
        pa.array([b"b", b"a"], pa.binary()),
    ],
    ids=["dictionary", "large", "binary"],
)
def test_texts_may_be_any_of_parquets(tmp_path, column):
    table = pa.Table.from_pylist([one("x", 0.0), one("x", 1.0)]).set_column(2, "response", column)
    pq.write_table(table, tmp_path / "r.parquet")
    prompts = write(tmp_path / "p.jsonl", prompts_for([one("x", 0.0)]))
    done = run([tmp_path / "r.parquet"], [prompts], tmp_path / "out")
    assert sides(done.pairs) == {("p", "en", "en", "a", "b")}


def test_a_language_may_be_named_for_all(pair):
    rows = [{"id": "p", "response": text, "reward": k} for k, text in enumerate("ba")]
    done = pair(rows, prompts=[{"id": "p", "prompt": "How?"}], lang="pt-br")
    assert [p.name for p in done.folder.glob("pairs*")] == ["pairs-pt-BR.jsonl"]


def test_a_tag_is_brought_into_its_normal_form(pair):
    rows = [one("a", 1.0, lang="EN-us"), one("b", 0.0, lang="en-US")]
    done = pair(rows, prompts=[{"id": "p", "lang": "en-us", "prompt": "How?"}])
    assert done.pairs[0]["chosen_lang"] == "en-US"
    assert (done.folder / "pairs-en-US.jsonl").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["r1", "--prompts", "p1", "p2", "-o", "d"],
        ["--scope=multilingual", "r1", "--prompts", "p1", "p2", "-o", "d"],
        ["-od", "r1", "--prompts", "p1", "p2"],
        ["--seed", "-3", "r1", "--prompts", "p1", "p2", "--sft"],
        ["--sft", "r1", "--prompts", "p1", "--prompts", "p2", "-o", "d"],
    ],
)
def test_all_files_after_prompts_are_prompts(arguments):
    spread = several(["pair", *arguments])
    at = spread.index("p1")
    assert spread[at - 1 : at + 3] == ["--prompts", "p1", "--prompts", "p2"]


def test_prompts_before_the_responses_take_one_file():
    before = ["pair", "--prompts", "p1", "r1", "r2", "-o", "d"]
    assert several(before) == before
    joined = ["pair", "--prompts=p1", "r1", "-o", "d"]
    assert several(joined) == joined


def test_several_files_of_prompts_and_responses(croco, tmp_path):
    rows = [one("a", 1.0), one("b", 0.0), one("a", 1.0, lang="es"), one("b", 0.0, lang="es")]
    write(tmp_path / "r1.jsonl", rows[:3])
    write(tmp_path / "r2.parquet", rows[3:])
    en, es = prompts_for(rows)
    write(tmp_path / "p1.jsonl", [en])
    write(tmp_path / "p2.parquet", [es])
    croco(
        "pair", "r1.jsonl", "r2.parquet", "--prompts", "p1.jsonl", "p2.parquet", "-o", "o", check=0
    )
    assert {p.name for p in (tmp_path / "o").glob("pairs*")} == {"pairs-en.jsonl", "pairs-es.jsonl"}


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("shown", ["chosen", "rejected"])
def test_the_prompt_is_in_the_language_that_was_asked_for(pair, shown, own):
    rows = drawn()
    if own:
        rows = [row | {"prompt": f"{row['lang']} asks {row['id']}"} for row in rows]
    pairing = {"scope": "multilingual", "prompt_language": shown}
    done = pair(rows, prompts=[] if own else None, pairing=pairing)
    assert len({(row["chosen_lang"], row["rejected_lang"]) for row in done.pairs}) > 3
    for row in done.pairs:
        assert row["prompt_lang"] == row[f"{shown}_lang"]
        assert row["prompt"] == [user(f"{row['prompt_lang']} asks {row['id']}")]


# -- Filters --------------------------------------------------------------------------------------------


def reasons(done):
    """What was filtered: counted, and listed with the response's place."""
    listed = read(done.folder / "filtered.jsonl")
    assert done.summary["responses"]["filtered"] == Counter(row["reason"] for row in listed)
    return [(row["reason"], row["line"], row["may_be_rejected"]) for row in listed]


def taken(done):
    return [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in done.pairs]


CUT = [one("best", 9.0, finish_reason="length"), one("good", 5.0, finish_reason="stop")]
CUT += [one("bad", 4.0), one("worst", 0.0, finish_reason="length")]
WAS_CUT = "cut off by the token limit"


@pytest.mark.parametrize(
    ("treatment", "pairs", "filtered"),
    [
        ("only-as-rejected", [("good", "worst")], [(WAS_CUT, 1, True), (WAS_CUT, 4, True)]),
        ("drop", [("good", "bad")], [(WAS_CUT, 1, False), (WAS_CUT, 4, False)]),
        ("off", [("best", "worst")], []),
    ],
)
def test_what_was_cut_off_is_not_chosen(pair, treatment, pairs, filtered):
    done = pair(CUT, pairing={"filters": {"cut_off": treatment}})
    assert taken(done) == pairs
    assert reasons(done) == filtered


def test_that_is_the_default(pair):
    assert taken(pair(CUT)) == [("good", "worst")]


@pytest.mark.parametrize(
    ("treatment", "pairs", "filtered"),
    [
        ("drop", [("a", "b")], [("empty", 1, False), ("empty", 4, False)]),
        ("only-as-rejected", [("a", "")], [("empty", 1, True), ("empty", 4, True)]),
        ("off", [(" \n\u3000", "")], []),
    ],
)
def test_empty_responses(pair, treatment, pairs, filtered):
    rows = [one(" \n\u3000", 3.0), one("a", 2.0), one("b", 1.0), one("", 0.0)]
    done = pair(rows, pairing={"filters": {"empty": treatment}})
    assert taken(done) == pairs
    assert reasons(done) == filtered
    assert list(pq.read_table(done.folder / "pools.parquet")["empty"].to_pylist()) == [2]


SPOKEN = [one("en:bread", 9.0, lang="es"), one("es:pan es:sol en:sun", 5.0, lang="es")]
SPOKEN += [one("es:pan en:sun", 4.0, lang="es"), one("en:no", 0.0, lang="es")]
OTHER = "not in the language that was asked for"


@pytest.mark.parametrize(
    ("filters", "pairs", "filtered"),
    [
        ({"wrong_language": "off"}, [("en:bread", "en:no")], []),
        (
            {"wrong_language": "drop"},
            [("es:pan es:sol en:sun", "es:pan en:sun")],
            [(OTHER, 1, False), (OTHER, 4, False)],
        ),
        (
            {"wrong_language": "only-as-rejected"},
            [("es:pan es:sol en:sun", "en:no")],
            [(OTHER, 1, True), (OTHER, 4, True)],
        ),
        (
            {"wrong_language": "drop", "threshold": 0.6},
            [],
            [(OTHER, 1, False), (OTHER, 3, False), (OTHER, 4, False)],
        ),
    ],
)
def test_responses_in_another_language(pair, filters, pairs, filtered):
    done = pair(SPOKEN, pairing={"filters": filters | {"identifier": "fake"}})
    assert taken(done) == pairs
    assert reasons(done) == filtered


def test_near_duplicates_of_a_better_response_are_dropped(pair):
    long = "the quick brown fox jumps over the lazy dog and runs through the dark wood until night"
    rows = [one(long, 1.0), one(long.upper() + "!", 3.0), one(long + ".", 0.0), one("no", -1.0)]
    rows.append(one("something quite different about bread, rain and the price of tea", 2.0))
    done = pair(rows, pairing={"filters": {"near_duplicates": 0.8}, "rejected": "min"})
    alike = "nearly the same as a better response"
    assert reasons(done) == [(alike, 1, False), (alike, 3, False)]
    assert taken(done) == [(long.upper() + "!", "no")]
    same = pair(rows, out="same", pairing={"filters": {"near_duplicates": 1.0}})
    assert reasons(same) == []


@pytest.mark.parametrize(
    ("filters", "why"),
    [
        ({"min_gap": 1.5}, "the reward gap is too small"),
        ({"max_length_ratio": 4}, "the length ratio is too large"),
    ],
)
def test_pairs_are_refused_and_not_replaced(pair, filters, why):
    rows = [one("short", 1.0), one("long " * 10, 0.0), one("fine", 0.5)]
    rows += [one("equal", 3.0, id="q"), one("size.", 0.0, id="q")]
    done = pair(rows, pairing={"filters": filters, "rejected": "min"})
    assert taken(done) == [("equal", "size.")]
    assert done.summary["pairs"] == {"made": 1, "refused": {why: 1}}
    assert done.summary["pools"]["why_no_pair"] == {why: 1}
    kept = {"min_gap": 1.0} if "min_gap" in filters else {"max_length_ratio": 10}
    assert len(pair(rows, out="kept", pairing={"filters": kept, "rejected": "min"}).pairs) == 2


def test_lengths_are_in_characters(pair):
    rows = [one("猫" * 4, 1.0), one("four", 0.0)]
    assert len(pair(rows, pairing={"filters": {"max_length_ratio": 1}}).pairs) == 1


@pytest.mark.parametrize("seed", range(3))
def test_filters_do_not_move_the_target(pair, seed):
    draw = np.random.default_rng(seed)
    rewards = [float(value) for value in np.sort(draw.normal(size=30))]
    rows = [one(f"r{k}", value) for k, value in enumerate(rewards)]
    for row in rows[-6:]:
        row["finish_reason"] = "length"
    for row in rows[2:12:2]:
        row["response"] = " "
    goal = target("mean-2std", rewards)
    best = max(row["reward"] for row in rows if "finish_reason" not in row)
    free = [v for row in rows if row["response"] != " " and (v := row["reward"]) < best]
    (made,) = pair(rows).pairs
    assert made["chosen_reward"] == best
    assert made["rejected_reward"] == min(free, key=lambda value: abs(value - goal))
    assert made["pool_size"] == 30


def test_why_pools_give_no_pair(pair):
    rows = [one("lone", 1.0, id="alone")]
    rows += [one(text, 1.0, id="tied") for text in "abc"]
    rows += [one(text, 2.0 - k, id="same") for k, text in enumerate("xx")]
    rows += [one(text, k, id="cut", finish_reason="length") for k, text in enumerate("ab")]
    rows += [one("fine", 1.0, id="fine"), one("bad", 0.0, id="fine")]
    summary = pair(rows).summary
    lower = "no response that may be rejected has a lower reward and another text than one that may"
    assert summary["pools"] == {
        "made": 5,
        "fallback": summary["pools"]["fallback"],
        "of_one": 1,
        "all_tied": 1,
        "without_pair": 4,
        "repeats": 1,
        "why_no_pair": {
            "it has one response only": 1,
            "all rewards are equal": 1,
            "no response may be chosen": 1,
            f"{lower} be chosen": 1,
        },
    }
    assert summary["pairs"]["made"] == 1


# -- Rewards across languages ---------------------------------------------------------------------------


def shifted():
    """Rewards of three languages that differ by level alone."""
    rows = drawn(5)
    return [row | {"reward": row["reward"] + 100 * (row["lang"] == "sw")} for row in rows]


def supply(matrix, lang):
    return sum(matrix.get(lang, {}).values()) / sum(
        n for row in matrix.values() for n in row.values()
    )


@pytest.mark.parametrize("method", ["none", "zscore", "rank", "reference"])
def test_calibration_takes_a_languages_level_out(pair, method):
    rows = shifted()
    pairing = {"scope": "multilingual", "rejected": "min", "normalise": method}
    summary = pair(rows, pairing=pairing).summary
    if method == "none":
        assert supply(summary["matrix"], "sw") == 1.0
        assert summary["matrix_of_raw_rewards"] is None
    else:
        assert supply(summary["matrix"], "sw") < 0.7
        assert supply(summary["matrix_of_raw_rewards"], "sw") == 1.0


def level(values):
    mean, std = fmean(values), pstdev(values)
    return [(value - mean) / std for value in values]


def test_calibrated_rewards_are_those_of_the_definition(pair):
    rows = shifted()
    spoken = {lang: [row for row in rows if row["lang"] == lang] for lang in LANGS}
    found = {}
    for own in spoken.values():
        found |= dict(
            zip((r["response"] for r in own), level([r["reward"] for r in own]), strict=True)
        )
    done = pair(rows, pairing={"scope": "multilingual", "normalise": "zscore"})
    calibrated = [row | {"reward": found[row["response"]]} for row in rows]
    assert sides(done.pairs) == by_definition(calibrated, "multilingual", "mean-2std")
    raw = {row["response"]: row["reward"] for row in rows}
    for row in done.pairs:
        for side in ("chosen", "rejected"):
            text = row[side][0]["content"]
            assert row[f"{side}_reward"] == raw[text]
            assert row[f"{side}_calibrated_reward"] == pytest.approx(found[text])


def test_without_english_there_is_no_reference(pair):
    rows = [row for row in drawn(2) if row["lang"] != "en" or row["id"] in ("p1", "p2")]
    pairing = {"scope": "multilingual", "normalise": "reference"}
    done = pair(rows, pairing=pairing)
    assert {row["id"] for row in done.pairs} == {"p1", "p2"}
    why = {"it has no English responses to calibrate by": 7}
    assert done.summary["pools"]["why_no_pair"] == why
    regional = [row | {"lang": row["lang"].replace("en", "en-GB")} for row in rows]
    assert len(pair(regional, out="regional", pairing=pairing).pairs) == 2


# -- Who wrote it ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["policy", "model"])
def test_shares_of_what_the_policy_wrote(pair, column):
    rows = [one("a", 3.0, **{column: "ours"}), one("b", 1.0, **{column: "theirs"}), one("c", 0.0)]
    rows += [one("d", 3.0, id="q", **{column: "theirs"}), one("e", 1.0, id="q", **{column: "ours"})]
    done = pair(rows, policy="ours")
    shares = {"policy": "ours", "responses": 0.4, "chosen": 0.5, "rejected": 0.5}
    assert done.summary["on_policy"] == shares
    assert done.summary["written_by"]["unknown"] == {"responses": 1, "rejected": 1}
    assert done.pairs[0][f"chosen_{column}"] == "ours"
    assert pair(rows, out="none").summary["on_policy"] is None
    nobody = pair(rows, out="nobody", policy="nobody").summary["on_policy"]
    assert nobody == {"policy": "nobody", "responses": 0.0, "chosen": 0.0, "rejected": 0.0}


# -- Again, and cut short -------------------------------------------------------------------------------

MINE = ("notes.txt", "pairs_of_mine.jsonl", "pairs-notes.jsonl", "sft.txt", "more/pairs.jsonl")


def test_a_second_time_replaces_what_was_there_and_nothing_else(pair, tmp_path):
    (tmp_path / "out" / "more").mkdir(parents=True)
    for name in MINE:
        (tmp_path / "out" / name).write_text("mine")
    first = pair(drawn(), sft=True)
    assert (first.folder / "sft-sw.jsonl").exists()
    pair([row for row in drawn() if row["lang"] == "es"], form="parquet")
    names = {p.name for p in first.folder.iterdir()} - {"more"}
    ledgers = {f"{name}.jsonl" for name in ("refused", "unmatched", "filtered")}
    made = {"pairs-es.parquet", "pools.parquet", "summary.json"} | ledgers
    assert names == made | {name for name in MINE if "/" not in name}
    assert all((first.folder / name).read_text() == "mine" for name in MINE)


def test_what_is_read_is_not_written_over(pair, tmp_path):
    rows = [one("a", 1.0), one("b", 0.0)]
    with pytest.raises(DataError, match=r"pairs\.jsonl would be written over"):
        pair(rows, name="pairs.jsonl", out=".")
    assert len(read(tmp_path / "pairs.jsonl")) == 2
    assert len(pair(rows, name="responses.jsonl", out=".").pairs) == 1
    assert (tmp_path / "responses.jsonl").exists()


def files_in(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.parametrize("stage", ["read", "pair"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, DataError])
def test_what_is_cut_short_leaves_what_was_there(pair, tmp_path, stage, error):
    before = files_in(pair(drawn()).folder)

    def stop(now, *_):
        if now == stage:
            raise error

    for out in ("out", "new"):
        with pytest.raises(error):
            pair(drawn(1), out=out, notify=stop)
    assert files_in(tmp_path / "out") == before
    assert not (tmp_path / "new").exists()


def test_ctrl_c_leaves_nothing_behind(heeding_ctrl_c, tmp_path):
    rows = [one(f"answer {k} " * 30, k % 97, id=f"p{k % 500}") for k in range(9000)]
    write(tmp_path / "r.jsonl", rows)
    write(tmp_path / "p.jsonl", prompts_for(rows))
    command = [sys.executable, "-m", "croco", "pair", "r.jsonl", "--prompts", "p.jsonl"]
    command += ["--near-duplicates", "0.9", "-o", "out"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=heeding_ctrl_c
    )
    while not list(tmp_path.glob("out/.pair-*/parts/*.arrow")):
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "stopped; nothing was written" in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
