"""Operations of `keras.ops` by name, each called on an array by either module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from disttrain.layers import ops

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
