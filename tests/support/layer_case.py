"""A layer to be tried: how to make it, here and in Keras, and what to put in; the cases lie in `layer_cases/`, a file for each folder."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_random = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    """Standard normal numbers, float32."""
    return _random.standard_normal(shape).astype("float32")


def integers(high: int, *shape: int) -> np.ndarray:
    """Integers from 0 to `high` - 1, int32."""
    return _random.integers(0, high, shape).astype("int32")


VEC = floats(3, 4)
SEQ = floats(2, 5, 3)
IMG = floats(2, 6, 5, 4)
VOL = floats(2, 5, 4, 6, 2)
INTS = np.array([[1, 0, 3], [2, 2, 1]], dtype="int32")


@dataclass(frozen=True)
class Case:
    """One way to use a layer.

    Args:
        make: given `disttrain.layers` or `keras.layers`, the layer.
        inputs: what it is called on: an array, or a list, tuple or dict of them; with `spread` its items are the positional arguments.
        call: further arguments of the call by name.
        keras: False where Keras has no such layer, so that there is nothing to compare with.
        drawn: when training, the output is drawn at random, so only inference is compared with Keras.
        differentiable: False where no gradient is expected to reach the inputs.
        traced: False where torch.compile or torch.export cannot follow; say why beside it.
        tolerance: of outputs and gradients against Keras, relative and absolute.
    """

    make: Callable[[Any], Any]
    inputs: Any
    call: dict[str, Any] | None = None
    spread: bool = False
    keras: bool = True
    drawn: bool = False
    differentiable: bool = True
    traced: bool = True
    tolerance: float = 1e-5


def all_cases() -> dict[str, Case]:
    """Every case, by name: the class, then after a comma what is special."""
    found: dict[str, Case] = {}
    for file in sorted((Path(__file__).parent / "layer_cases").glob("*.py")):
        module = importlib.import_module(f"layer_cases.{file.stem}")
        for name, case in module.CASES.items():
            assert name not in found, f"two cases are called {name!r}"
            found[name] = case
    return found
