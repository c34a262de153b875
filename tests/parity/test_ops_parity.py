"""`disttrain.layers.ops` beside `keras.ops`: on tensors, on symbolic tensors, and in files both ways."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

import disttrain as dt
from disttrain.layers import ops
from disttrain.layers.ops.operation import DECLARED

X = np.random.default_rng(0).uniform(0.2, 0.9, (2, 3, 4)).astype("float32")  # where every function below is defined
ROW = np.array([0.5, -1.0, 2.0, 0.25], dtype="float32")

# fmt: off
UNARY = [
    "absolute", "arccos", "arcsin", "arctan", "cast", "ceil", "cos", "cosh", "erf", "exp", "exp2", "expm1", "floor", "isfinite", "isinf",
    "isnan", "log", "log10", "log1p", "log2", "logical_not", "negative", "ones_like", "ravel", "reciprocal", "relu", "relu6", "round",
    "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt", "square", "stop_gradient", "tan", "tanh", "zeros_like", "celu", "elu", "gelu",
    "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu", "log_sigmoid", "selu", "silu", "softplus", "softsign", "tanh_shrink",
    "softmax", "log_softmax", "normalize", "argsort", "sort", "nan_to_num",
]
# fmt: on
# fmt: off
BINARY = [
    "add", "subtract", "multiply", "divide", "true_divide", "divide_no_nan", "floor_divide", "mod", "power", "maximum", "minimum",
    "arctan2", "logaddexp", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or",
    "logical_xor",
]
# fmt: on
REDUCTIONS = ["sum", "mean", "prod", "max", "min", "amax", "amin", "var", "std", "any", "all"]

Case = Callable[[Any, Any], Any]
CASES: dict[str, Case] = {
    **{name: lambda o, x, n=name: getattr(o, n)(x - 0.5 if n in ("relu", "sign") else x) for name in UNARY if name != "cast"},
    **{name: lambda o, x, n=name: getattr(o, n)(x, x * 2 - 0.5) for name in BINARY},
    **{f"{name}, number": lambda o, x, n=name: getattr(o, n)(x, 2) for name in BINARY},
    **{f"{name}, axis": lambda o, x, n=name: getattr(o, n)(x, axis=-1) for name in REDUCTIONS},
    **{f"{name}, two axes": lambda o, x, n=name: getattr(o, n)(x, axis=(1, 2), keepdims=True) for name in REDUCTIONS},
    **{f"{name}, all": lambda o, x, n=name: getattr(o, n)(x) for name in REDUCTIONS},
    "add, array": lambda o, x: o.add(x, ROW),
    "subtract, from array": lambda o, x: o.subtract(ROW, x),
    "**": lambda o, x: 2 ** (x**2),
    "//": lambda o, x: (x * 10) // 3,
    "%": lambda o, x: (x * 10) % 3,
    "@": lambda o, x: x @ o.transpose(x, (0, 2, 1)),
    "- and /": lambda o, x: -(1 - x) / 4 - 1 / x,
    "comparisons": lambda o, x: o.where((x > 0.5) & ~(x >= 0.8) | (x < 0.3), x, -x),
    "abs and !=": lambda o, x: abs(x - 0.5) * o.cast(o.not_equal(x, 0), "float32"),
    "x[:, None]": lambda o, x: x[:, None],
    "x[..., 0]": lambda o, x: x[..., 0],
    "x[:, 1:3]": lambda o, x: x[:, 1:3],
    "x[:, ::2, -1]": lambda o, x: x[:, ::2, -1],
    "argmax": lambda o, x: o.argmax(x, axis=1),
    "argmin, keepdims": lambda o, x: o.argmin(x, axis=-1, keepdims=True),
    "broadcast_to": lambda o, x: o.broadcast_to(o.sum(x, axis=0), (5, 3, 4)),
    "cast": lambda o, x: o.cast(x * 3, "int32"),
    "clip": lambda o, x: o.clip(x, 0.3, 0.7),
    "concatenate": lambda o, x: o.concatenate([x, 2 * x], axis=-1),
    "cumprod": lambda o, x: o.cumprod(x, axis=1),
    "cumsum": lambda o, x: o.cumsum(x, axis=-1),
    "dot": lambda o, x: o.dot(x, x[0, 0]),
    "einsum": lambda o, x: o.einsum("bij,bkj->bik", x, x),
    "expand_dims": lambda o, x: o.expand_dims(x, (1, -1)),
    "flip": lambda o, x: o.flip(x, axis=1),
    "gelu, exact": lambda o, x: o.gelu(x, approximate=False),
    "glu": lambda o, x: o.glu(x),
    "logsumexp": lambda o, x: o.logsumexp(x, axis=1, keepdims=True),
    "matmul": lambda o, x: o.matmul(x, o.swapaxes(x, 1, 2)),
    "max, initial": lambda o, x: o.max(x, axis=1, initial=0.5),
    "min, initial": lambda o, x: o.min(x, axis=1, initial=0.5),
    "moveaxis": lambda o, x: o.moveaxis(x, 1, -1),
    "norm": lambda o, x: o.norm(x, axis=-1, keepdims=True),
    "norm, 1": lambda o, x: o.norm(x, ord=1, axis=(1, 2)),
    "one_hot": lambda o, x: o.one_hot(o.cast(x * 3, "int32"), 4),
    "one_hot, axis": lambda o, x: o.one_hot(o.cast(x * 3, "int32"), 4, axis=1),
    "outer": lambda o, x: o.outer(x[0, 0], x[0, 1]),
    "pad": lambda o, x: o.pad(x, ((0, 0), (1, 2), (0, 1)), constant_values=0.5),
    "pad, reflect": lambda o, x: o.pad(x, ((0, 0), (0, 0), (1, 2)), mode="reflect"),
    "repeat": lambda o, x: o.repeat(x, 2, axis=1),
    "reshape": lambda o, x: o.reshape(x, (-1, 2, 6)),
    "roll": lambda o, x: o.roll(x, 1, axis=-1),
    "round, decimals": lambda o, x: o.round(x, 1),
    "softmax, axes": lambda o, x: o.softmax(x, axis=(1, 2)),
    "split": lambda o, x: o.split(x, 2, axis=-1)[1],
    "split, places": lambda o, x: o.split(x, [1, 3], axis=-1)[1],
    "squeeze": lambda o, x: o.squeeze(x[:, :1], axis=1),
    "stack": lambda o, x: o.stack([x, -x], axis=1),
    "swapaxes": lambda o, x: o.swapaxes(x, 1, 2),
    "take": lambda o, x: o.take(x, np.array([2, 0, -1], dtype="int32"), axis=1),
    "take_along_axis": lambda o, x: o.take_along_axis(x, o.argsort(x, axis=-1), axis=-1),
    "tensordot": lambda o, x: o.tensordot(x, o.transpose(x[0]), axes=1),
    "tile": lambda o, x: o.tile(x, (1, 2, 1)),
    "top_k": lambda o, x: o.top_k(x, 2)[0],
    "transpose, axes": lambda o, x: o.transpose(x, (0, 2, 1)),
    "tril": lambda o, x: o.tril(x, 1),
    "triu": lambda o, x: o.triu(x),
    "unstack": lambda o, x: o.unstack(x, axis=1)[2] if o is ops else o.unstack(x, 3, axis=1)[2],
    "where": lambda o, x: o.where(x > 0.5, x, 0.0),
}


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
    assert public <= set(ops.__all__)
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
