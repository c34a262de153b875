"""For every loss and metric: the smallest model that it fits, and targets that are neither all right nor all wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from slice_runs import Task
from torch import Tensor

import disttrain as dt
from disttrain import layers, losses, metrics

SAMPLES, FEATURES, CLASSES = 11, 5, 4


@dataclass(frozen=True)
class Targets:
    """Targets, the activation of outputs that fit them, the loss beside metrics on them; `steps` for outputs that are sequences."""

    make: Callable[[np.random.Generator, int], np.ndarray]
    activation: Any
    loss: str = "mse"
    steps: int = 0
    units: int = CLASSES


def _labels(random: np.random.Generator, samples: int) -> np.ndarray:
    return random.integers(0, CLASSES, samples)


def _bits(random: np.random.Generator, samples: int) -> np.ndarray:
    return random.integers(0, 2, (samples, CLASSES)).astype("float32")


def _signs(random: np.random.Generator, samples: int) -> np.ndarray:
    return random.choice([-1.0, 1.0], (samples, CLASSES)).astype("float32")


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def _sign(x: Tensor) -> Tensor:
    """-1 or 1, so that equal values occur; the gradient is that of x."""
    return x + (torch.sign(x) - x).detach()


REAL = Targets(lambda random, n: random.normal(size=(n, CLASSES)).astype("float32"), None)
POSITIVE = Targets(lambda random, n: random.uniform(0.1, 3.0, (n, CLASSES)).astype("float32"), "softplus")
SHARES = Targets(lambda random, n: random.dirichlet(np.ones(CLASSES), n).astype("float32"), "softmax")
BINARY = Targets(_bits, "sigmoid")
ONE_HOT = Targets(lambda random, n: np.eye(CLASSES, dtype="float32")[_labels(random, n)], "softmax")
SPARSE = Targets(_labels, "softmax", "sparse_categorical_crossentropy")
SIGNS = Targets(_signs, None)
EQUAL = Targets(_signs, _sign)
GROUPS = Targets(lambda random, n: random.integers(0, 2, n), _unit)  # two classes: nearly every slice holds a pair
SEQUENCES = Targets(lambda random, n: random.integers(1, CLASSES, (n, 2)), None, steps=6)


@dataclass(frozen=True)
class Case:
    """A loss or a metric by its arguments.

    Args:
        targets: what it is for.
        arguments: of the constructor.
        weighted: False where samples cannot be weighted.
        by_slice: why the value depends on the slices, by the documentation; None where it does not.
        held: the metric has no targets: a layer holds it and feeds it.
    """

    targets: Targets
    arguments: dict[str, Any] = field(default_factory=dict)
    weighted: bool = True
    by_slice: str | None = None
    held: bool = False


OVERLAP = "one number for a slice: V slices have the mean of V"

LOSSES: dict[str, Case] = {
    "BinaryCrossentropy": Case(BINARY, {"label_smoothing": 0.1}),
    "BinaryFocalCrossentropy": Case(BINARY, {"apply_class_balancing": True}),
    "CTC": Case(SEQUENCES),
    "CategoricalCrossentropy": Case(ONE_HOT),
    "CategoricalFocalCrossentropy": Case(ONE_HOT),
    "CategoricalGeneralizedCrossEntropy": Case(SPARSE),
    "CategoricalHinge": Case(ONE_HOT),
    "Circle": Case(GROUPS, {"gamma": 2.0}, by_slice="pairs are made within a slice"),
    "CosineSimilarity": Case(REAL),
    "Dice": Case(BINARY, weighted=False, by_slice=OVERLAP),
    "Dice, of each sample": Case(BINARY, {"axis": 1}),
    "Hinge": Case(SIGNS),
    "Hinge, 0 and 1": Case(Targets(_bits, None)),
    "Huber": Case(REAL),
    "KLDivergence": Case(SHARES),
    "LogCosh": Case(REAL),
    "MeanAbsoluteError": Case(REAL),
    "MeanAbsolutePercentageError": Case(POSITIVE),
    "MeanSquaredError": Case(REAL),
    "MeanSquaredError, sum": Case(REAL, {"reduction": "sum"}),
    "MeanSquaredError, mean": Case(REAL, {"reduction": "mean"}),
    "MeanSquaredError, mean with weights": Case(REAL, {"reduction": "mean_with_sample_weight"}),
    "MeanSquaredLogarithmicError": Case(POSITIVE),
    "Poisson": Case(POSITIVE),
    "RootMeanSquaredError": Case(REAL),
    "SparseCategoricalCrossentropy": Case(SPARSE),
    "SquaredHinge": Case(SIGNS),
    "Tversky": Case(BINARY, {"alpha": 0.3, "beta": 0.6}, weighted=False, by_slice=OVERLAP),
    "Tversky, of each sample": Case(BINARY, {"alpha": 0.3, "axis": 1}),
}

METRICS: dict[str, Case] = {
    "AUC": Case(BINARY, {"num_thresholds": 9}),
    "AUC, by label": Case(ONE_HOT, {"multi_label": True, "curve": "PR", "num_thresholds": 7}),
    "Accuracy": Case(EQUAL),
    "BinaryAccuracy": Case(BINARY),
    "BinaryCrossentropy": Case(BINARY),
    "BinaryIoU": Case(BINARY),
    "CategoricalAccuracy": Case(ONE_HOT),
    "CategoricalCrossentropy": Case(ONE_HOT),
    "CategoricalHinge": Case(ONE_HOT),
    "ConcordanceCorrelation": Case(REAL),
    "ConcordanceCorrelation, over samples": Case(REAL, {"axis": 0}),
    "CosineSimilarity": Case(REAL),
    "F1Score": Case(ONE_HOT, {"average": "weighted"}),
    "FBetaScore": Case(ONE_HOT, {"beta": 2.0, "threshold": 0.25}),
    "FalseNegatives": Case(BINARY, {"thresholds": [0.3, 0.6]}),
    "FalsePositives": Case(BINARY),
    "Hinge": Case(SIGNS),
    "IoU": Case(SPARSE, {"num_classes": CLASSES, "target_class_ids": [0, 2], "sparse_y_pred": False}),
    "KLDivergence": Case(SHARES),
    "LogCoshError": Case(REAL),
    "Mean": Case(REAL, held=True),
    "MeanAbsoluteError": Case(REAL),
    "MeanAbsolutePercentageError": Case(POSITIVE),
    "MeanIoU": Case(SPARSE, {"num_classes": CLASSES, "sparse_y_pred": False}),
    "MeanMetricWrapper": Case(REAL, {"fn": metrics.log_cosh}),
    "MeanSquaredError": Case(REAL),
    "MeanSquaredLogarithmicError": Case(POSITIVE),
    "OneHotIoU": Case(ONE_HOT, {"num_classes": CLASSES, "target_class_ids": [1, 3]}),
    "OneHotMeanIoU": Case(ONE_HOT, {"num_classes": CLASSES}),
    "PearsonCorrelation": Case(REAL),
    "PearsonCorrelation, over samples": Case(REAL, {"axis": 0}),
    "Poisson": Case(POSITIVE),
    "Precision": Case(BINARY),
    "Precision, of the best two": Case(ONE_HOT, {"top_k": 2}),
    "PrecisionAtRecall": Case(BINARY, {"recall": 0.5, "num_thresholds": 9}),
    "R2Score": Case(REAL),
    "Recall": Case(BINARY, {"class_id": 1}),
    "RecallAtPrecision": Case(BINARY, {"precision": 0.4, "num_thresholds": 9}),
    "RootMeanSquaredError": Case(REAL),
    "SensitivityAtSpecificity": Case(BINARY, {"specificity": 0.4, "num_thresholds": 9}),
    "SparseCategoricalAccuracy": Case(SPARSE),
    "SparseCategoricalCrossentropy": Case(SPARSE),
    "SparseTopKCategoricalAccuracy": Case(SPARSE, {"k": 2}),
    "SpecificityAtSensitivity": Case(BINARY, {"sensitivity": 0.5, "num_thresholds": 9}),
    "SquaredHinge": Case(SIGNS),
    "Sum": Case(REAL, held=True),
    "TopKCategoricalAccuracy": Case(ONE_HOT, {"k": 2}),
    "TrueNegatives": Case(BINARY),
    "TruePositives": Case(BINARY, {"thresholds": 0.4}),
}


class Feeding(layers.Layer):
    """Hands its inputs on, and their means over the features to a metric that it holds."""

    def __init__(self, metric: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.metric = metric

    def call(self, x: Tensor) -> Tensor:
        self.metric.update_state(x.detach().mean(-1))
        return x


def loss_task(name: str, dtype: str = "float32") -> Task:
    """A model that learns by this loss."""
    case = LOSSES[name]
    return _task(case, losses.CLASSES[name.split(",")[0]](**case.arguments), [], dtype)


def metric_task(name: str, dtype: str = "float32") -> Task:
    """A model that is measured by this metric: without weights and, where that can be, with them; or by one in a layer."""
    case = METRICS[name]
    kind = metrics.CLASSES[name.split(",")[0]]
    return _task(case, case.targets.loss, [kind(name=f"m{number}", **case.arguments) for number in range(1 + (not case.held))], dtype)


# Metrics that a mask of the outputs reaches.
MASKED: dict[str, Case] = {
    "CosineSimilarity": Case(REAL),
    "LogCoshError": Case(REAL),
    "MeanAbsoluteError": Case(REAL),
    "MeanMetricWrapper": Case(REAL, {"fn": metrics.huber}),
    "MeanSquaredError": Case(REAL),
}


def masked_task(samples: int, batch_size: int, seed: int) -> Task:
    """Sequences with masked steps and weighted samples, measured by all of `MASKED` while nothing is learned."""
    dt.clear_session()
    random = np.random.default_rng(seed)
    model = dt.Sequential([dt.Input((3, 2), dtype="float64"), layers.Masking(dtype="float64"), layers.Dense(CLASSES, dtype="float64")])
    measured = [metrics.CLASSES[name](name=name, **case.arguments) for name, case in MASKED.items()]
    model.compile(dt.optimizers.SGD(0.0), "mse", weighted_metrics=measured)
    x = random.normal(size=(samples, 3, 2)).astype("float32")
    x[random.random((samples, 3)) < 0.4] = 0.0
    x[0, 0] = 1.0  # something counts
    y = random.normal(size=(samples, 3, CLASSES)).astype("float32")
    return Task(model, x, y, random.uniform(0.2, 2.0, samples).astype("float32"), batch_size, epochs=1)


def _task(case: Case, loss: Any, measured: list[Any], dtype: str) -> Task:
    dt.clear_session()
    dt.set_random_seed(7)
    targets, random = case.targets, np.random.default_rng(3)
    shape = (targets.steps, FEATURES) if targets.steps else (FEATURES,)
    stack = [dt.Input(shape, dtype=dtype), layers.Dense(targets.units, targets.activation, dtype=dtype)]
    if case.held:
        stack.insert(1, Feeding(measured.pop(), dtype=dtype))
    model = dt.Sequential(stack)
    model.compile(dt.optimizers.SGD(0.1), loss, metrics=measured[:1], weighted_metrics=measured[1:] if case.weighted else None)
    x = random.normal(size=(SAMPLES, *shape)).astype("float32")
    weight = random.uniform(0.2, 2.0, SAMPLES).astype("float32") if case.weighted else None
    return Task(model, x, targets.make(random, SAMPLES), weight, epochs=1)
