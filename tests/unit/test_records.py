import json
from dataclasses import fields

import pyarrow as pa
import pytest

from croco import records
from croco.records import Pair, Pairs, Rewards, Side, decode, encode, schema

SIDE = Side("es", 3, "hola", [5, 6, 2], 0.5, "stop")
ROWS = [
    Pairs("p1", "mul", [Pair("es", [1, 2], SIDE, SIDE)], 4, 0.1, 0.2, True, ""),
    Pairs("p2", "es", [], 0, float("inf"), 0.0, False, "the pool is empty"),
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
        records.Audit,
        records.Metric,
    ],
)
def test_every_record_has_a_schema_with_its_fields(kind):
    assert schema(kind).names == [field.name for field in fields(kind)]


def test_nested_records_become_structs():
    assert pa.types.is_struct(schema(Pairs).field("pairs").type.value_type)
