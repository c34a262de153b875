"""`disttrain.layers.ops` beside `keras.ops`: on tensors, on symbolic tensors, and in files both ways."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from ops_cases import BINARY, CASES, REDUCTIONS, UNARY, Case, X

import disttrain as dt
from disttrain.layers import ops
from disttrain.layers.ops.operation import DECLARED


def same(ours: Any, theirs: Any) -> None:
    theirs = torch.as_tensor(theirs)
    assert ours.dtype is theirs.dtype and ours.shape == theirs.shape
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_a_function_of_tensors_gives_keras_s_numbers_shape_and_dtype(name: str):
    same(CASES[name](ops, torch.tensor(X)), CASES[name](keras.ops, keras.ops.convert_to_tensor(X)))


def test_on_a_symbolic_tensor_the_shape_and_dtype_are_keras_s():
    for name, case in CASES.items():
        ours, theirs = case(ops, dt.Input((3, 4))), case(keras.ops, keras.Input((3, 4)))
        assert (ours.dtype, tuple(ours.shape)) == (theirs.dtype, tuple(theirs.shape)), name


@pytest.mark.parametrize("dtype", ["int32", "bool", "uint8", "float16"])
def test_other_dtypes_become_what_keras_makes_of_them(dtype: str):
    values = (np.arange(24).reshape(2, 3, 4) % 5).astype(dtype)
    calls: dict[str, Case] = {name: lambda o, x, n=name: getattr(o, n)(x) for name in (*UNARY, *REDUCTIONS) if name != "cast"}
    calls |= {name: lambda o, x, n=name: getattr(o, n)(x, x) for name in BINARY}
    compared = 0
    for name, call in calls.items():
        try:
            theirs = torch.as_tensor(call(keras.ops, keras.ops.convert_to_tensor(values)))
        except (RuntimeError, NotImplementedError, AttributeError):
            continue  # not defined there
        ours = call(ops, torch.tensor(values))
        assert ours.dtype is theirs.dtype, name
        np.testing.assert_allclose(ours.float().numpy(), theirs.float().numpy(), rtol=2e-3, atol=1e-3, err_msg=name)
        compared += 1
    assert compared > 50


def test_every_function_goes_through_files_both_ways(tmp_path: Path):
    mine, other = dt.Input((3, 4), name="x"), keras.Input((3, 4), name="x")
    cases = [case for name, case in CASES.items() if name != "softmax, axes"]  # which Keras computes, but not in a model
    ours = dt.Model(mine, [case(ops, mine) for case in cases])
    theirs = keras.Model(other, [case(keras.ops, other) for case in cases])
    ours.save(tmp_path / "ours.keras")
    theirs.save(tmp_path / "theirs.keras")
    one, two = dt.load_model(tmp_path / "theirs.keras"), keras.saving.load_model(tmp_path / "ours.keras")
    x = torch.tensor(X)
    for mine, loaded, reference, theirs_again in zip(ours(x), one(x), theirs(x), two(x), strict=True):
        same(mine, reference)
        same(loaded, reference)
        same(theirs_again, reference)


def test_counting_what_is_not_zero_keeps_the_order_of_axes():
    x = torch.tensor(X) > 0.5  # Keras 3.15's torch backend gives the transpose
    assert torch.equal(ops.count_nonzero(x, axis=1), x.sum(1).int()) and ops.count_nonzero(x).dtype is torch.int32


@pytest.mark.parametrize("mode", ["symmetric", "reflect"])
def test_padding_mirrors_as_numpy_does(mode: str):
    widths = ((0, 1), (2, 1), (1, 3))  # Keras 3.15's torch backend replicates one value where NumPy is symmetric
    np.testing.assert_array_equal(ops.pad(torch.tensor(X), widths, mode=mode).numpy(), np.pad(X, widths, mode=mode))


def test_every_declared_function_is_public_and_of_a_class_that_keras_has():
    import importlib

    public = {declared.function.__name__ for declared in DECLARED.values()} - {"get_item", "_einsum"}
    assert public <= {*ops.__all__, *ops.image.__all__}
    for declared in DECLARED.values():
        assert hasattr(importlib.import_module(declared.module), declared.class_name)


def test_numbers_of_python_beside_integers_and_halves_count_as_in_keras():
    for values in ("int32", "bool", "float16", "uint8"):
        x = np.array([1, 0, 3]).astype(values)
        for function in (operator.add, operator.mul, operator.truediv):
            for number in (2, 0.5):
                name = {"add": "add", "mul": "multiply", "truediv": "divide"}[function.__name__]
                theirs = torch.as_tensor(getattr(keras.ops, name)(x, number))
                ours = getattr(ops, name)(torch.tensor(x), number)
                assert ours.dtype is theirs.dtype, (values, name, number)
                torch.testing.assert_close(ours, theirs)
