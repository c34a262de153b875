from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import numpy as np
import pytest

from disttrain.checkpoint.sealed import seal, unseal
from disttrain.errors import CheckpointCorrupt


def sealed_text(text: bytes) -> bytes:
    return b'{"sha256":"' + hashlib.sha256(text).hexdigest().encode() + b'","body":' + text + b"}\n"


def test_a_sealed_record_is_plain_json_with_its_digest_first() -> None:
    data = seal({"b": [1, 2.5, None, True], "a": "é"})
    assert data == sealed_text(b'{"a":"\\u00e9","b":[1,2.5,null,true]}')
    assert json.loads(data)["body"] == {"a": "é", "b": [1, 2.5, None, True]}


def test_what_was_sealed_comes_back_with_nan_and_infinities() -> None:
    body = unseal(seal({"loss": [math.nan, math.inf, -math.inf, 0.1], "shape": (2, 3)}), "record")
    assert math.isnan(body["loss"][0])
    assert body["loss"][1:] == [math.inf, -math.inf, 0.1]
    assert body["shape"] == [2, 3]


def test_no_changed_cut_or_added_byte_goes_unnoticed() -> None:
    data = seal({"step": 3, "names": ["a", "b"]})
    for position in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            with pytest.raises(CheckpointCorrupt):
                unseal(bytes(changed), "record")
        with pytest.raises(CheckpointCorrupt):
            unseal(data[:position], "record")
    with pytest.raises(CheckpointCorrupt):
        unseal(data + b"\n", "record")


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({1: 2}, r"body\['x'\] has the key 1"),
        ([{"y": {1}}], r"body\['x'\]\[0\]\['y'\] is a builtins.set"),
        (np.float64(1.0), r"body\['x'\] is a numpy.float64"),
        ({"$float": "nan"}, r"has the key '\$float'"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(value: Any, place: str) -> None:
    with pytest.raises(ValueError, match=place):
        seal({"x": value})


def test_endless_nesting_is_refused() -> None:
    body: dict[str, Any] = {}
    body["again"] = body
    with pytest.raises(ValueError, match="64 deep"):
        seal(body)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b"[1]",
        b'{"a":',
        b'{"a":"\xff"}',
        b'{"a":{"$float":"big"}}',
        b"[" * 100_000,
        b'{"a":' + b"9" * 5000 + b"}",
    ],
    ids=["key twice", "bare NaN", "a list", "cut", "no UTF-8", "unknown float", "deep", "long number"],
)
def test_hostile_bodies_with_a_fitting_digest_are_refused(text: bytes) -> None:
    with pytest.raises(CheckpointCorrupt, match="the record is damaged"):
        unseal(sealed_text(text), "the record")
