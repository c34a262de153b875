"""What the optimizer keeps, in `optimizer/vars/0`, `1`, ... of an HDF5 file, in Keras's order: training goes on where it stopped."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
from torch import Tensor, nn

from disttrain.optimizers import TorchOptimizer

MAX_VARIABLES = 1 << 20


def optimizer_arrays(model: nn.Module) -> list[tuple[str, str, list[Any]]]:
    """(path, name, arrays) of the optimizer of a compiled model, and of one inside it; nothing without an optimizer, or for torch's."""
    found = []
    path, optimizer = "optimizer", getattr(model, "optimizer", None)
    if isinstance(optimizer, TorchOptimizer):  # no file says what it is
        return []
    params, names = _trained(model)
    while optimizer is not None and hasattr(optimizer, "keras_variables") and hasattr(optimizer, "name"):
        asked = optimizer if optimizer.built else copy.deepcopy(optimizer)  # one that has not started is left so
        found.append((path, str(optimizer.name), list(asked.keras_variables(params, names))))
        path, optimizer = f"{path}/inner_optimizer", getattr(optimizer, "inner_optimizer", None)
    return found


def restore_optimizer(model: nn.Module, values: list[Any], source: str) -> None:
    """Give the optimizer what a file held; where that does not fit, a warning, and the optimizer starts afresh."""
    optimizer: Any = getattr(model, "optimizer", None)
    if optimizer is None or not hasattr(optimizer, "set_keras_variables") or not values:
        return
    params, names = _trained(model)
    fresh = copy.deepcopy(optimizer) if not optimizer.built else optimizer
    expected = len(fresh.keras_variables(params, names))
    if len(values) != expected and len(values) <= 2:  # saved before its first step: a step count and a rate
        return
    each = getattr(optimizer, "optimizers", None) or [optimizer]  # those within a MultiOptimizer
    rates = [getattr(one, "_learning_rate", None) for one in each]
    try:
        optimizer.set_keras_variables(params, values, names)
        for one, rate in zip(each, rates, strict=True):
            if isinstance(rate, float) and np.float32(rate) == np.float32(one.current_learning_rate()):
                one.learning_rate = rate  # the file rounds it to float32; the same bits need all of it
    except ValueError as error:
        warnings.warn(f"{source}: the optimizer starts afresh, since its state does not fit: {error}", stacklevel=4)


def _trained(model: nn.Module) -> tuple[list[Tensor], list[str]]:
    pairs = [(name, weight) for name, weight in model.named_weights() if weight.requires_grad]  # type: ignore[operator]
    return [weight for _, weight in pairs], [name for name, _ in pairs]
