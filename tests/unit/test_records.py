import json
from dataclasses import fields

import pyarrow as pa
import pytest

from croco import records
from croco.records import Barred, Pair, Pairs, Rewards, Side
from croco.schemas import decode, encode, schema

SIDE = Side("es", 3, "hola", 0.5, 1.5, "stop", "m@1")
ROWS = [
    Pairs(
        id="p1",
        lang="mul",
        pairs=[Pair("es", SIDE, SIDE)],
        pool_size=4,
        pool_mean=0.1,
        pool_std=0.2,
        pool_min=-1.0,
        pool_max=float("inf"),
        best=1,
        repeats=0,
        cut_off=2,
        empty=0,
        fallback=True,
        reason="",
        scores=[1.5, 0.5],
        barred=[Barred("es", 1, True, "empty")],
        refused=["the reward gap is too small"],
        raw=[["es", "en"]],
    ),
    Rewards("p1", "es", [0.5, -1.0], {"quality": [0.5, 1.0]}),
]


@pytest.mark.parametrize("row", ROWS)
def test_rows_survive_json(row):
    assert decode(type(row), json.loads(json.dumps(encode(row)))) == row


@pytest.mark.parametrize(
    "kind",
    [
        records.Prompt,
        records.Responses,
        records.Rewards,
        records.Pairs,
        records.Verdicts,
        records.Step,
        records.Judged,
        records.Metric,
    ],
)
def test_every_record_has_a_schema_with_its_fields(kind):
    assert schema(kind).names == [field.name for field in fields(kind)]


def test_nested_records_become_structs():
    assert pa.types.is_struct(schema(Pairs).field("pairs").type.value_type)
