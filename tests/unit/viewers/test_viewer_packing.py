"""Maps as one message, and back."""

from __future__ import annotations

import json
import struct
import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from disttrain.viewers.packing import Packed, pack


def packed(maps: np.ndarray, **options: Any) -> Packed:
    return pack(maps, layer="layer", view="activations", form="maps", shape=maps.shape, axes=["a", "b", "c"], **options)


def read(message: bytes) -> tuple[dict[str, Any], np.ndarray]:
    (size,) = struct.unpack_from("<I", message)
    header = json.loads(message[4 : 4 + size])
    start = 4 + size + -(4 + size) % 4
    data = np.frombuffer(message, "<u1" if header["dtype"] == "uint8" else "<f4", offset=start)
    shape = (header["count"], header["height"], header["width"], header["channels"])
    return header, data.reshape(shape if shape[-1] > 1 else shape[:-1])


def restored(header: dict[str, Any], data: np.ndarray) -> np.ndarray:
    low, high = (np.array(header[name]).reshape(-1, *(1 for _ in data.shape[1:])) for name in ("minimum", "maximum"))
    return low + data / 255 * (high - low)


@given(arrays.arrays(np.float32, st.tuples(*[st.integers(1, 5)] * 3), elements=st.floats(allow_nan=False, allow_infinity=False, width=32)))
def test_a_byte_is_within_half_a_step_of_its_number(maps: np.ndarray):
    header, data = read(packed(maps).to_bytes())
    steps = (np.array(header["maximum"]) - np.array(header["minimum"]))[:, None, None] / 255
    assert (abs(restored(header, data) - maps) <= steps * 0.501 + np.abs(maps) * 1e-6).all()


def test_exact_numbers_come_back_as_they_are():
    maps = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    header, data = read(packed(maps, exact=True).to_bytes())
    assert (data == maps).all() and header["dtype"] == "float32" and header["maximum"] == maps.max((1, 2)).tolist()


def test_each_map_has_a_range_of_its_own_and_a_constant_one_is_all_zero():
    header, data = read(packed(np.stack([np.full((2, 2), 7.0), np.array([[0, 1], [2, 255]])])).to_bytes())
    assert header["minimum"] == [7.0, 0.0] and header["maximum"] == [7.0, 255.0]
    assert data.tolist() == [[[0, 0], [0, 0]], [[0, 1], [2, 255]]]


def test_values_that_are_no_numbers_are_shown_as_the_minimum_and_counted():
    maps = np.array([[[np.nan, 1.0, 3.0], [np.inf, -np.inf, 3.0]], [[np.nan] * 3, [np.nan] * 3]])
    header, data = read(packed(maps).to_bytes())
    assert header["minimum"] == [1.0, 0.0] and header["maximum"] == [3.0, 0.0]
    assert data.tolist() == [[[0, 0, 255], [0, 0, 255]], [[0, 0, 0], [0, 0, 0]]]
    assert header["message"] == "9 of 12 values are infinite or not a number; they are shown as the minimum."


@pytest.mark.parametrize("dtype", [bool, np.int64, np.float16, np.float64])
def test_any_dtype_is_packed(dtype: Any):
    header, data = read(packed(np.array([[[0, 1]]], dtype=dtype)).to_bytes())
    assert data.tolist() == [[[0, 255]]] and header["maximum"] == [1.0]


def test_the_data_begin_at_a_multiple_of_four_whatever_the_header():
    for length in range(4):
        message = packed(np.ones((1, 1, 1)), message="x" * length).to_bytes()
        (size,) = struct.unpack_from("<I", message)
        assert len(message) == 4 + size + -(4 + size) % 4 + 1


def test_pictures_have_three_channels_and_one_range_each():
    header, data = read(packed(np.random.default_rng(0).random((2, 4, 5, 3))).to_bytes())
    assert data.shape == (2, 4, 5, 3) and header["channels"] == 3 and len(header["minimum"]) == 2


def test_no_maps_are_a_message_too():
    header, data = read(packed(np.zeros((0, 4, 4))).to_bytes())
    assert header["count"] == 0 and data.size == 0
    assert packed(torch.zeros(2, 0, 3).numpy()).data.shape == (2, 0, 3)


def test_a_large_layer_is_packed_without_a_loop_over_its_maps(monkeypatch: pytest.MonkeyPatch):
    maps = np.random.default_rng(0).random((256, 56, 56), dtype=np.float32)
    started = time.perf_counter()
    message = packed(maps).to_bytes()
    assert len(message) > 256 * 56 * 56 and time.perf_counter() - started < 2  # about 5 ms; a guard against a loop over numbers
