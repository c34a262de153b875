"""Metrics by name: `get` finds one, `resolve` fits one to a model's outputs, `serialize` and `deserialize` go by config."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from disttrain import torch_losses
from disttrain.identifiers import to_snake_case
from disttrain.metrics import accuracies, correlations, cosine, crossentropies, divergences, hinges, regression_errors
from disttrain.metrics.accuracies import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from disttrain.metrics.auc import AUC
from disttrain.metrics.base import Metric
from disttrain.metrics.confusion_counts import FalseNegatives, FalsePositives, TrueNegatives, TruePositives
from disttrain.metrics.correlations import ConcordanceCorrelation, PearsonCorrelation
from disttrain.metrics.cosine import CosineSimilarity
from disttrain.metrics.crossentropies import BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy
from disttrain.metrics.divergences import KLDivergence, Poisson
from disttrain.metrics.f_score import F1Score, FBetaScore
from disttrain.metrics.from_torch import MeanOfTorchLoss
from disttrain.metrics.from_torchmetrics import TorchMetric, is_torchmetric
from disttrain.metrics.hinges import CategoricalHinge, Hinge, SquaredHinge
from disttrain.metrics.iou import BinaryIoU, IoU, MeanIoU, OneHotIoU, OneHotMeanIoU
from disttrain.metrics.operating_points import PrecisionAtRecall, RecallAtPrecision, SensitivityAtSpecificity, SpecificityAtSensitivity
from disttrain.metrics.precision_recall import Precision, Recall
from disttrain.metrics.r2_score import R2Score
from disttrain.metrics.reductions import Mean, MeanMetricWrapper, Sum
from disttrain.metrics.regression_errors import (
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    RootMeanSquaredError,
)

CLASSES: dict[str, type[Metric]] = {
    cls.__name__: cls
    for cls in (
        AUC,
        Accuracy,
        BinaryAccuracy,
        BinaryCrossentropy,
        BinaryIoU,
        CategoricalAccuracy,
        CategoricalCrossentropy,
        CategoricalHinge,
        ConcordanceCorrelation,
        CosineSimilarity,
        F1Score,
        FBetaScore,
        FalseNegatives,
        FalsePositives,
        Hinge,
        IoU,
        KLDivergence,
        LogCoshError,
        Mean,
        MeanAbsoluteError,
        MeanAbsolutePercentageError,
        MeanIoU,
        MeanMetricWrapper,
        MeanSquaredError,
        MeanSquaredLogarithmicError,
        OneHotIoU,
        OneHotMeanIoU,
        PearsonCorrelation,
        Poisson,
        Precision,
        PrecisionAtRecall,
        R2Score,
        Recall,
        RecallAtPrecision,
        RootMeanSquaredError,
        SensitivityAtSpecificity,
        SparseCategoricalAccuracy,
        SparseCategoricalCrossentropy,
        SparseTopKCategoricalAccuracy,
        SpecificityAtSensitivity,
        SquaredHinge,
        Sum,
        TopKCategoricalAccuracy,
        TrueNegatives,
        TruePositives,
    )
}
BY_NAME: dict[str, type[Metric]] = {
    **{to_snake_case(name): cls for name, cls in CLASSES.items()},
    "bce": BinaryCrossentropy,
    "fbeta_score": FBetaScore,
    "kld": KLDivergence,
    "logcosh": LogCoshError,
    "mae": MeanAbsoluteError,
    "mape": MeanAbsolutePercentageError,
    "mse": MeanSquaredError,
    "msle": MeanSquaredLogarithmicError,
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    fn.__name__: fn
    for fn in (
        accuracies.accuracy,
        accuracies.binary_accuracy,
        accuracies.categorical_accuracy,
        accuracies.sparse_categorical_accuracy,
        accuracies.sparse_top_k_categorical_accuracy,
        accuracies.top_k_categorical_accuracy,
        correlations.concordance_correlation,
        correlations.pearson_correlation,
        cosine.cosine_similarity,
        crossentropies.binary_crossentropy,
        crossentropies.binary_focal_crossentropy,
        crossentropies.categorical_crossentropy,
        crossentropies.categorical_focal_crossentropy,
        crossentropies.sparse_categorical_crossentropy,
        divergences.kl_divergence,
        divergences.poisson,
        hinges.categorical_hinge,
        hinges.hinge,
        hinges.squared_hinge,
        regression_errors.huber,
        regression_errors.log_cosh,
        regression_errors.mean_absolute_error,
        regression_errors.mean_absolute_percentage_error,
        regression_errors.mean_squared_error,
        regression_errors.mean_squared_logarithmic_error,
    )
}
_ACCURACY, _CROSSENTROPY = ("acc", "accuracy"), ("ce", "crossentropy")


def get(identifier: Any) -> Metric | None:
    """A metric from a name (`"mse"`, `"MeanSquaredError"`), a config dict, a class, an instance or a function; None stays None.

    A `torchmetrics.Metric` and a loss of torch's are called as their packages mean them, with the outputs first.

    Raises:
        ValueError: nothing is known by that name; the valid ones are listed, nearest first.
    """
    if isinstance(identifier, dict):
        return deserialize(identifier)
    made = _named(identifier) if isinstance(identifier, str) else identifier
    if inspect.isclass(made):
        made = made()
    if made is None or isinstance(made, Metric):
        return made
    if is_torchmetric(made):
        return TorchMetric(made)
    if (of_torch := torch_losses.find(made)) is not None:
        return MeanOfTorchLoss(of_torch)
    if callable(made):
        return MeanMetricWrapper(made, name=_name_of(made))
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
    if isinstance(identifier, str) and identifier.lower() in _ACCURACY + _CROSSENTROPY:
        metric = _by_shape(identifier, y_shape, y_pred_shape, loss)
    else:
        found = get(identifier)
        if found is None:
            raise ValueError("metrics=[None]: expected a name, a Metric or a function.")
        metric = found
        if isinstance(identifier, str):
            metric.name = identifier
    metric.fitted_to(y_shape, y_pred_shape)
    return metric


def serialize(metric: Metric) -> dict[str, Any]:
    """A metric as Keras writes it: `{"module", "class_name", "config", "registered_name"}`."""
    name = type(metric).__name__
    known = CLASSES.get(name) is type(metric)
    module, registered = ("keras.metrics", None) if known else (type(metric).__module__, name)
    return {"module": module, "class_name": name, "config": metric.get_config(), "registered_name": registered}


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Metric:
    """The metric of a config such as `serialize` gives, or of a name.

    Args:
        custom_objects: further classes and functions by name.

    Raises:
        ValueError: the config names a class or a function that is not known.
    """
    custom = custom_objects or {}
    if not isinstance(config, dict):
        made = get(custom.get(config, config) if isinstance(config, str) else config)
        if made is None:
            raise ValueError("deserialize(None): expected the config of a metric.")
        return made
    name, arguments = config.get("class_name"), config.get("config")
    if not isinstance(name, str):
        raise ValueError(f"metrics={config!r}: expected a config with 'class_name' and 'config'.")
    if name == "function":
        return deserialize(arguments, custom)
    arguments = {key: _function(value, custom) for key, value in (arguments or {}).items()}
    cls = custom.get(name) or _named(name)
    if not inspect.isclass(cls) or not issubclass(cls, Metric):
        raise ValueError(f"metrics={config!r}: {name} is not a class of metrics.")
    return cls.from_config(arguments)


def _function(value: Any, custom: dict[str, Any]) -> Any:
    """The function that an entry of a config names, as in that of a MeanMetricWrapper; other values as they are."""
    if not isinstance(value, dict) or value.get("class_name") != "function":
        return value
    name = value.get("config")
    function = custom.get(name) or FUNCTIONS.get(name) if isinstance(name, str) else None
    if function is None:
        raise ValueError(
            f"metrics: the config names the function {name!r}, which is not known.\n  try       custom_objects={{{name!r}: ...}}"
        )
    return function


def _by_shape(name: str, y_shape: tuple[int, ...] | None, y_pred_shape: tuple[int, ...], loss: Any) -> Metric:
    if y_shape is None:
        raise ValueError(f"metrics=[{name!r}]: there are no targets to choose by.\n  try       a metric by its full name, or pass y")
    if len(y_pred_shape) < 2 or y_pred_shape[-1] == 1:
        kind = 0
    elif len(y_shape) < len(y_pred_shape) or y_shape[-1] == 1:
        kind = 1
    else:
        kind = 2
    if name.lower() in _ACCURACY:
        return (BinaryAccuracy, SparseCategoricalAccuracy, CategoricalAccuracy)[kind](name=name)
    from_logits = bool(getattr(loss, "from_logits", False))
    return (BinaryCrossentropy, SparseCategoricalCrossentropy, CategoricalCrossentropy)[kind](name=name, from_logits=from_logits)


def _named(name: str) -> Any:
    """The class of that name, or the function; upper and lower case are alike."""
    found = CLASSES.get(name) or BY_NAME.get(name.lower()) or FUNCTIONS.get(name.lower())
    if found is None:
        names = sorted({*BY_NAME, *FUNCTIONS})
        nearest = difflib.get_close_matches(name.lower(), names, n=len(names), cutoff=0.0)
        raise ValueError(f"metrics=[{name!r}]: no such metric.\n  expected  one of {', '.join(nearest)}, nearest first")
    return found


def _name_of(thing: Any) -> str:
    """What Keras calls a function or a loss in the logs."""
    return getattr(thing, "name", None) or to_snake_case(getattr(thing, "__name__", type(thing).__name__))
