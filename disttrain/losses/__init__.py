"""Losses: what training makes small. `get` finds one by name."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from disttrain.losses.base import FunctionLoss, Loss
from disttrain.losses.binary_crossentropy import BinaryCrossentropy, binary_crossentropy
from disttrain.losses.categorical_crossentropy import CategoricalCrossentropy, categorical_crossentropy
from disttrain.losses.huber import Huber, huber
from disttrain.losses.mean_absolute_error import MeanAbsoluteError, mean_absolute_error
from disttrain.losses.mean_squared_error import MeanSquaredError, mean_squared_error
from disttrain.losses.sparse_categorical_crossentropy import SparseCategoricalCrossentropy, sparse_categorical_crossentropy

BY_NAME: dict[str, type[Loss]] = {
    "bce": BinaryCrossentropy,
    "binary_crossentropy": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "huber": Huber,
    "huber_loss": Huber,
    "mae": MeanAbsoluteError,
    "mean_absolute_error": MeanAbsoluteError,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
}
CLASSES: dict[str, type[Loss]] = {cls.__name__: cls for cls in BY_NAME.values()}


def get(identifier: Any) -> Loss | None:
    """A loss from a name (`"mse"`, `"MeanSquaredError"`), a config dict, a class, an instance or a function; None stays None.

    Raises:
        ValueError: nothing is known by that name; the valid ones are listed, nearest first.
    """
    if identifier is None or isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, str):
        return _named(identifier)()
    if isinstance(identifier, dict) and isinstance(identifier.get("class_name"), str):
        return _named(identifier["class_name"]).from_config(identifier.get("config", {}))
    if inspect.isclass(identifier) and issubclass(identifier, Loss):
        return identifier()
    if callable(identifier):
        return FunctionLoss(identifier)
    raise ValueError(
        f"loss={identifier!r}: expected a name, a Loss, a function (y_true, y_pred), or a config with 'class_name' and 'config'."
    )


def _named(name: str) -> type[Loss]:
    found = CLASSES.get(name) or BY_NAME.get(name) or BY_NAME.get(name.lower())
    if found is None:
        names = list(BY_NAME)
        nearest = difflib.get_close_matches(name.lower(), names, n=len(names), cutoff=0.0)
        raise ValueError(f"loss={name!r}: no such loss.\n  expected  one of {', '.join(nearest)}, nearest first")
    return found


__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "FunctionLoss",
    "Huber",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "get",
    "huber",
    "mean_absolute_error",
    "mean_squared_error",
    "sparse_categorical_crossentropy",
]
