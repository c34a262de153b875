"""F-scores: precision and recall of each class in one number."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.errors import DataError
from disttrain.metrics.base import Metric
from disttrain.metrics.shapes import fitted_weights, rows, without_gradient

EPSILON = 1e-7
NO_SCORE = 1e-9  # without a threshold, a largest output this near to 0 predicts nothing
AVERAGES = (None, "micro", "macro", "weighted")


class FBetaScore(Metric):
    """`(1 + beta**2) * precision * recall / (beta**2 * precision + recall)` of each class.

    Args:
        average: None gives a vector with the score of each class; "macro" its mean; "weighted" its mean weighted by how often a class
            occurs; "micro" the score of all classes' counts together.
        beta: how much more recall counts than precision, a float above 0.
        threshold: outputs above it are predicted, a float above 0 up to 1. None: the largest output of each sample is.

    Targets and outputs are `(samples, classes)`, the targets 0 or 1.

    Variables: `true_positives`, `false_positives`, `false_negatives`, `intermediate_weights`, each `(classes,)`, or `()` for "micro".

    Example:
        >>> y_true = [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
        >>> FBetaScore(beta=2.0, threshold=0.5)(y_true, [[0.2, 0.6, 0.7], [0.2, 0.6, 0.6], [0.6, 0.8, 0.0]]).numpy().round(4).tolist()
        [0.3846, 0.9091, 0.8333]
    """

    _direction = "up"

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str | None = "fbeta_score",
        dtype: str | None = None,
    ) -> None:
        super().__init__(dtype, name)
        kind = type(self).__name__
        if average not in AVERAGES:
            raise ValueError(
                f"{kind}(average={average!r}): Invalid `average` argument value. "
                f"Expected one of: {{None, 'micro', 'macro', 'weighted'}}. Received: average={average}"
            )
        if not isinstance(beta, float) or not beta > 0.0:
            wrong = "be > 0" if isinstance(beta, float) else "be a Python float"
            raise ValueError(f"{kind}: Invalid `beta` argument value. It should {wrong}. Received: beta={beta!r}.")
        if threshold is not None and (not isinstance(threshold, float) or not 0.0 < threshold <= 1.0):
            wrong = "verify 0 < threshold <= 1" if isinstance(threshold, float) else "be a Python float"
            kindly = "" if isinstance(threshold, float) else f" of type '{type(threshold)}'"
            raise ValueError(
                f"{kind}: Invalid `threshold` argument value. It should {wrong}. Received: threshold={threshold}{kindly}. "
                "None predicts the largest output of each sample."
            )
        self.average, self.beta, self.threshold = average, beta, threshold
        self._classes: int | None = None

    def build(self, y_shape: tuple[int, ...] | None, y_pred_shape: tuple[int, ...]) -> None:
        kind = type(self).__name__
        if len(y_pred_shape) != 2 or (y_shape is not None and len(y_shape) != 2):
            shapes = f"y_true has shape {None if y_shape is None else tuple(y_shape)}, y_pred has shape {tuple(y_pred_shape)}"
            raise DataError(f"{kind}: {shapes}.\n  expected  both (samples, classes); labels become such by one-hot encoding")
        if self._classes is None:
            self._classes = y_pred_shape[1]
            shape = () if self.average == "micro" else (self._classes,)
            self.true_positives = self.add_variable(shape, name="true_positives")
            self.false_positives = self.add_variable(shape, name="false_positives")
            self.false_negatives = self.add_variable(shape, name="false_negatives")
            self.intermediate_weights = self.add_variable(shape, name="intermediate_weights")
        elif self._classes != y_pred_shape[1]:
            raise DataError(f"{kind}: y_pred has shape {tuple(y_pred_shape)}; expected {self._classes} classes, as before.")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_pred = without_gradient(y_pred)
        self.build(tuple(torch.as_tensor(y_true).shape), tuple(y_pred.shape))
        targets, outputs = rows(type(self).__name__, y_true, y_pred)
        outputs = outputs.to(torch.float32)
        if self.threshold is None:
            predicted = (outputs >= outputs.amax(-1, keepdim=True)) & (outputs.abs() > NO_SCORE)
        else:
            predicted = outputs > self.threshold
        targets, predictions = targets.to(torch.float64), predicted.to(torch.float64)
        weighted_targets, weighted_predictions = targets, predictions
        if sample_weight is not None:
            weights = fitted_weights(sample_weight, targets)
            weighted_targets, weighted_predictions = targets * weights, predictions * weights
        over = (0, 1) if self.average == "micro" else (0,)
        found = (weighted_targets * predictions).sum(over)
        positives = weighted_targets.sum(over)
        self.true_positives.add_(found)
        self.false_positives.add_(weighted_predictions.sum(over) - found)
        self.false_negatives.add_(positives - found)
        self.intermediate_weights.add_(positives)

    def result(self) -> Tensor:
        if self._classes is None:
            return torch.zeros((), dtype=torch.float64)
        precision = self.true_positives / (self.true_positives + self.false_positives + EPSILON)
        recall = self.true_positives / (self.true_positives + self.false_negatives + EPSILON)
        scores = (1.0 + self.beta**2) * precision * recall / (self.beta**2 * precision + recall + EPSILON)
        if self.average == "weighted":
            return (scores * self.intermediate_weights / (self.intermediate_weights.sum() + EPSILON)).sum()
        return scores if self.average is None else scores.mean()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "average": self.average, "beta": self.beta, "threshold": self.threshold}


class F1Score(FBetaScore):
    """The harmonic mean of precision and recall of each class: `FBetaScore` with beta 1.

    Args:
        average: None gives a vector with the score of each class; "macro", "weighted" and "micro" one number.
        threshold: outputs above it are predicted, a float above 0 up to 1. None: the largest output of each sample is.

    Example:
        >>> F1Score(average="micro")([[1, 0], [0, 1]], [[0.9, 0.1], [0.8, 0.2]]).numpy().round(4).tolist()
        0.5
    """

    def __init__(
        self, average: str | None = None, threshold: float | None = None, name: str | None = "f1_score", dtype: str | None = None
    ) -> None:
        super().__init__(average, 1.0, threshold, name, dtype)

    def get_config(self) -> dict[str, Any]:
        return {key: value for key, value in super().get_config().items() if key != "beta"}
