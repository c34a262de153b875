"""Area under the ROC, the precision-recall or the precision-recall-gain curve, as a Riemann sum over fixed thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.errors import DataError
from disttrain.host_numbers import on_device
from disttrain.metrics.base import Variable, divide
from disttrain.metrics.confusion import ConfusionMetric, checked_thresholds, evenly_spaced
from disttrain.metrics.shapes import as_prediction, without_gradient

EPSILON = 1e-7
CURVES = ("ROC", "PR", "PRGAIN")
SUMMATIONS = ("interpolation", "majoring", "minoring")


class AUC(ConfusionMetric):
    """The area under a curve through the counts at each threshold: close to the exact area, and a sum over samples.

    Args:
        num_thresholds: how many thresholds, evenly from -1e-7 to 1 + 1e-7; 2 or more.
        curve: "ROC", "PR" (precision over recall) or "PRGAIN" (their gains, Flach & Kull 2015).
        summation_method: "interpolation" (trapezoids; for PR the formula of Davis & Goadrich 2006, section 4), "minoring" or "majoring".
        thresholds: the inner thresholds, instead of even ones.
        multi_label: one area for each column of `(samples, labels)`, then their mean.
        num_labels: columns of a multi-label output; found at the first batch when not told.
        label_weights: weights of that mean; without `multi_label`, of each column's predictions.
        from_logits: predictions go through a sigmoid first.

    Variables: true and false positives and negatives, each `(thresholds,)`, or `(thresholds, labels)`.

    Example:
        >>> round(float(AUC(num_thresholds=3)([0, 0, 1, 1], [0.0, 0.5, 0.3, 0.9])), 4)
        0.75
    """

    _direction = "up"
    true_positives: Variable
    false_positives: Variable
    true_negatives: Variable
    false_negatives: Variable

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: str | None = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ) -> None:
        if str(curve).upper() not in CURVES:
            raise ValueError(f'AUC: Invalid AUC curve value: "{curve}". Expected one of {list(CURVES)}.')
        if str(summation_method).lower() not in SUMMATIONS:
            raise ValueError(f'AUC: Invalid AUC summation method value: "{summation_method}". Expected one of {list(SUMMATIONS)}.')
        if num_labels and not multi_label:
            raise ValueError(f"AUC(num_labels={num_labels}): expected multi_label=True beside it.")
        self._given_thresholds = None if thresholds is None else sorted(checked_thresholds("AUC", thresholds))
        if self._given_thresholds is None:
            if isinstance(num_thresholds, bool) or not isinstance(num_thresholds, int) or num_thresholds < 2:
                raise ValueError(f"AUC(num_thresholds={num_thresholds!r}): Argument `num_thresholds` must be an integer > 1.")
            inner = [(i + 1) / (num_thresholds - 1) for i in range(num_thresholds - 2)]
        else:
            inner = self._given_thresholds
        evenly = self._given_thresholds is None or evenly_spaced([0.0, *inner, 1.0])
        super().__init__([-EPSILON, *inner, 1.0 + EPSILON], evenly, name, dtype)  # the ends catch predictions of exactly 0 and 1
        self.num_thresholds = len(self.thresholds)
        self.curve, self.summation_method = str(curve).upper(), str(summation_method).lower()
        self.multi_label, self.num_labels = bool(multi_label), num_labels
        self.label_weights = None if label_weights is None else [float(weight) for weight in label_weights]
        self.from_logits = bool(from_logits)
        self._labels: int | None = None
        if not multi_label:
            self._add_counts()
        elif num_labels:
            self.build(None, (1, num_labels))

    def build(self, y_shape: tuple[int, ...] | None, y_pred_shape: tuple[int, ...]) -> None:
        columns = y_pred_shape[-1] if len(y_pred_shape) > 1 else 1
        if self.label_weights is not None and len(self.label_weights) != columns:
            raise ValueError(f"AUC(label_weights=...) has {len(self.label_weights)} weights: y_pred has shape {tuple(y_pred_shape)}.")
        if not self.multi_label:
            return
        if len(y_pred_shape) != 2 or columns != (self._labels or columns):
            expected = f"(samples, {self._labels or 'labels'})"
            raise DataError(f"AUC(multi_label=True): y_pred has shape {tuple(y_pred_shape)}; expected {expected}.")
        if self._labels is None:
            self._labels = columns
            self._add_counts(columns)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_pred = without_gradient(y_pred)
        self.build(None, tuple(y_pred.shape))
        labels, y_pred, weights = self._prepared(y_true, _sigmoid(y_pred) if self.from_logits else y_pred, sample_weight)
        if self.label_weights is not None and not self.multi_label:
            of_columns = on_device(self.label_weights, y_pred.device, torch.float64)
            weights = of_columns.expand(y_pred.shape) if weights is None else weights * of_columns
        for name, counts in self._counts(labels, y_pred, weights, self._labels or 1).items():
            variable = getattr(self, name)
            variable.add_(counts.view(variable.shape))

    def result(self) -> Tensor:
        if not self.variables:  # multi-label, and no batch yet
            return torch.zeros((), dtype=torch.float64)
        if self.curve == "PR" and self.summation_method == "interpolation":
            return self._over_labels(self._interpolated_precision_recall())
        x, y = self._points()
        if self.summation_method == "interpolation":
            heights = (y[:-1] + y[1:]) / 2.0
        else:
            heights = torch.minimum(y[:-1], y[1:]) if self.summation_method == "minoring" else torch.maximum(y[:-1], y[1:])
        return self._over_labels(((x[:-1] - x[1:]) * heights).sum(0))

    def _points(self) -> tuple[Tensor, Tensor]:
        """The curve's x and y at each threshold."""
        tp, fp, tn, fn = self.true_positives, self.false_positives, self.true_negatives, self.false_negatives
        recall = divide(tp, tp + fn)
        if self.curve == "ROC":
            return divide(fp, fp + tn), recall
        if self.curve == "PR":
            return recall, divide(tp, tp + fp)
        odds = divide(tp + fn, tn + fp)
        nothing = tp == 0.0  # there the gains diverge; Keras takes 0 and 1, and 0 for a recall below chance
        recall_gain = torch.where(nothing, 0.0, 1.0 - odds * divide(fn, tp)).clamp(min=0.0)
        return recall_gain, torch.where(nothing, 1.0, 1.0 - odds * divide(fp, tp))

    def _interpolated_precision_recall(self) -> Tensor:
        """Davis & Goadrich 2006: between two thresholds true positives vary linearly with predicted positives, precision does not."""
        tp, fn = self.true_positives, self.false_negatives
        positives = tp + self.false_positives
        step_tp = tp[:-1] - tp[1:]
        slope = divide(step_tp, (positives[:-1] - positives[1:]).clamp(min=0.0))
        intercept = tp[1:] - slope * positives[1:]
        both = (positives[:-1] > 0) & (positives[1:] > 0)
        ratio = torch.where(both, divide(positives[:-1], positives[1:]), 1.0)
        return divide(slope * (step_tp + intercept * ratio.log()), (tp[1:] + fn[1:]).clamp(min=0.0)).sum(0)

    def _over_labels(self, areas: Tensor) -> Tensor:
        if not self.multi_label:
            return areas
        if self.label_weights is None:
            return areas.mean()
        weights = on_device(self.label_weights, areas.device, torch.float64)
        return divide((areas * weights).sum(), weights.sum())

    def get_config(self) -> dict[str, Any]:
        config = {
            **super().get_config(),
            "num_thresholds": self.num_thresholds,
            "curve": self.curve,
            "summation_method": self.summation_method,
            "multi_label": self.multi_label,
            "num_labels": self.num_labels,
            "label_weights": self.label_weights,
            "from_logits": self.from_logits,
        }
        return config if self._given_thresholds is None else {**config, "thresholds": self._given_thresholds}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> AUC:
        """The inverse of `get_config`; reads Keras's, whose label weights are a tensor."""
        weights = config.get("label_weights")
        if isinstance(weights, dict):
            config = {**config, "label_weights": weights["config"]["value"]}
        elif isinstance(weights, np.ndarray | Tensor):
            config = {**config, "label_weights": weights.tolist()}
        return cls(**config)


def _sigmoid(logits: Tensor) -> Tensor:
    """`1 / (1 + exp(-x))`; `torch.sigmoid` on a CPU rounds the last values of a tensor differently, so where a batch is cut would show."""
    return as_prediction(logits).neg().exp().add(1.0).reciprocal()
