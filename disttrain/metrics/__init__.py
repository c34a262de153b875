"""Metrics: what is reported of a training. `get` finds one by name, `resolve` fits one to a model's outputs."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from disttrain.metrics.accuracy import Accuracy
from disttrain.metrics.auc import AUC
from disttrain.metrics.base import Metric
from disttrain.metrics.binary_accuracy import BinaryAccuracy
from disttrain.metrics.binary_crossentropy import BinaryCrossentropy
from disttrain.metrics.categorical_accuracy import CategoricalAccuracy
from disttrain.metrics.categorical_crossentropy import CategoricalCrossentropy
from disttrain.metrics.mean_absolute_error import MeanAbsoluteError
from disttrain.metrics.mean_squared_error import MeanSquaredError
from disttrain.metrics.precision import Precision
from disttrain.metrics.recall import Recall
from disttrain.metrics.reductions import Mean, MeanMetricWrapper, Sum
from disttrain.metrics.root_mean_squared_error import RootMeanSquaredError
from disttrain.metrics.sparse_categorical_accuracy import SparseCategoricalAccuracy
from disttrain.metrics.sparse_categorical_crossentropy import SparseCategoricalCrossentropy
from disttrain.metrics.sparse_top_k_categorical_accuracy import SparseTopKCategoricalAccuracy
from disttrain.metrics.top_k_categorical_accuracy import TopKCategoricalAccuracy

BY_NAME: dict[str, type[Metric]] = {
    "accuracy": Accuracy,
    "auc": AUC,
    "bce": BinaryCrossentropy,
    "binary_accuracy": BinaryAccuracy,
    "binary_crossentropy": BinaryCrossentropy,
    "categorical_accuracy": CategoricalAccuracy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "mae": MeanAbsoluteError,
    "mean": Mean,
    "mean_absolute_error": MeanAbsoluteError,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "precision": Precision,
    "recall": Recall,
    "root_mean_squared_error": RootMeanSquaredError,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "sparse_top_k_categorical_accuracy": SparseTopKCategoricalAccuracy,
    "sum": Sum,
    "top_k_categorical_accuracy": TopKCategoricalAccuracy,
}
CLASSES: dict[str, type[Metric]] = {cls.__name__: cls for cls in BY_NAME.values()}
_CHOSEN_BY_SHAPE = ("acc", "accuracy", "ce", "crossentropy")


def get(identifier: Any) -> Metric | None:
    """A metric from a name (`"mse"`, `"MeanSquaredError"`), a config dict, a class, an instance or a function; None stays None.

    Raises:
        ValueError: nothing is known by that name; the valid ones are listed, nearest first.
    """
    if identifier is None or isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, str):
        return _named(identifier)()
    if isinstance(identifier, dict) and isinstance(identifier.get("class_name"), str):
        return _named(identifier["class_name"]).from_config(identifier.get("config", {}))
    if inspect.isclass(identifier) and issubclass(identifier, Metric):
        return identifier()
    if callable(identifier) and not inspect.isclass(identifier):
        return MeanMetricWrapper(identifier)
    raise ValueError(
        f"metrics={identifier!r}: expected a name, a Metric, a function (y_true, y_pred), or a config with 'class_name' and 'config'."
    )


def resolve(identifier: Any, y_shape: tuple[int, ...] | None, y_pred_shape: tuple[int, ...], loss: Any = None) -> Metric:
    """The metric for one output of a model, ready for its shapes; a string names it as given.

    `"accuracy"`, `"acc"`, `"crossentropy"` and `"ce"` become, as in Keras, binary for an output of size 1, sparse categorical for
    targets of lower rank or of size 1, else categorical.

    Args:
        y_shape, y_pred_shape: shapes of the targets and outputs, with any number of samples.
        loss: the output's loss; a cross-entropy chosen by shape reads the outputs as it does (`from_logits`).
    """
    if isinstance(identifier, str) and identifier.lower() in _CHOSEN_BY_SHAPE:
        metric = _by_shape(identifier, y_shape, y_pred_shape, loss)
    else:
        found = get(identifier)
        if found is None:
            raise ValueError("metrics=[None]: expected a name, a Metric or a function.")
        metric = found
        if isinstance(identifier, str):
            metric.name = identifier
    metric.build(y_shape, y_pred_shape)
    return metric


def _by_shape(name: str, y_shape: tuple[int, ...] | None, y_pred_shape: tuple[int, ...], loss: Any) -> Metric:
    if y_shape is None:
        raise ValueError(f"metrics=[{name!r}]: there are no targets to choose by.\n  try       a metric by its full name, or pass y")
    if len(y_pred_shape) < 2 or y_pred_shape[-1] == 1:
        kind = 0
    elif len(y_shape) < len(y_pred_shape) or y_shape[-1] == 1:
        kind = 1
    else:
        kind = 2
    if name.lower() in ("acc", "accuracy"):
        return (BinaryAccuracy, SparseCategoricalAccuracy, CategoricalAccuracy)[kind](name=name)
    from_logits = bool(getattr(loss, "from_logits", False))
    return (BinaryCrossentropy, SparseCategoricalCrossentropy, CategoricalCrossentropy)[kind](name=name, from_logits=from_logits)


def _named(name: str) -> type[Metric]:
    found = CLASSES.get(name) or BY_NAME.get(name) or BY_NAME.get(name.lower())
    if found is None:
        names = list(BY_NAME)
        nearest = difflib.get_close_matches(name.lower(), names, n=len(names), cutoff=0.0)
        raise ValueError(f"metrics=[{name!r}]: no such metric.\n  expected  one of {', '.join(nearest)}, nearest first")
    return found


__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "Mean",
    "MeanAbsoluteError",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "Recall",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "Sum",
    "TopKCategoricalAccuracy",
    "get",
    "resolve",
]
