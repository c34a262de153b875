"""Area under the ROC or the precision-recall curve, as a Riemann sum over fixed thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.metrics.base import Metric, Variable, divide
from disttrain.metrics.confusion import prepared

EPSILON = 1e-7
CURVES = ("ROC", "PR")
SUMMATIONS = ("interpolation", "majoring", "minoring")


class AUC(Metric):
    """The area under a curve through the counts at each threshold: close to the exact area, and a sum over samples.

    Args:
        num_thresholds: how many thresholds, evenly from -1e-7 to 1 + 1e-7; 2 or more.
        curve: "ROC" or "PR".
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
        super().__init__(name, dtype)
        if str(curve).upper() not in CURVES:
            raise ValueError(f"AUC(curve={curve!r}): expected one of {list(CURVES)}.")
        if str(summation_method).lower() not in SUMMATIONS:
            raise ValueError(f"AUC(summation_method={summation_method!r}): expected one of {list(SUMMATIONS)}.")
        if num_labels and not multi_label:
            raise ValueError(f"AUC(num_labels={num_labels}): expected multi_label=True beside it.")
        self._given_thresholds = None if thresholds is None else sorted(float(t) for t in thresholds)
        if self._given_thresholds is None:
            if num_thresholds < 2:
                raise ValueError(f"AUC(num_thresholds={num_thresholds!r}): expected 2 or more.")
            inner = [(i + 1) / (num_thresholds - 1) for i in range(num_thresholds - 2)]
        else:
            inner = self._given_thresholds
        self.thresholds = [-EPSILON, *inner, 1.0 + EPSILON]  # the ends catch predictions of exactly 0 and 1
        self.num_thresholds = len(self.thresholds)
        self.curve, self.summation_method = str(curve).upper(), str(summation_method).lower()
        self.multi_label, self.num_labels = multi_label, num_labels
        self.label_weights = None if label_weights is None else [float(w) for w in label_weights]
        self.from_logits = from_logits
        if not multi_label or num_labels:
            self._add_variables(num_labels)

    def _add_variables(self, labels: int | None) -> None:
        shape = (self.num_thresholds, labels) if labels else (self.num_thresholds,)
        self.true_positives: Variable = self.add_variable(shape, "true_positives")
        self.false_positives: Variable = self.add_variable(shape, "false_positives")
        self.true_negatives: Variable = self.add_variable(shape, "true_negatives")
        self.false_negatives: Variable = self.add_variable(shape, "false_negatives")

    def build(self, y_shape: tuple[int, ...] | None, y_pred_shape: tuple[int, ...]) -> None:
        if self.variables:
            return
        if len(y_pred_shape) != 2:
            raise ValueError(f"AUC(multi_label=True): y_pred has shape {tuple(y_pred_shape)}; expected (samples, labels).")
        self._add_variables(y_pred_shape[1])

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_pred = torch.as_tensor(y_pred)
        self.build(None, tuple(y_pred.shape))
        labels, y_pred, weights = prepared("AUC", y_true, y_pred.sigmoid() if self.from_logits else y_pred, sample_weight)
        each = torch.ones_like(y_pred, dtype=torch.float64) if weights is None else weights
        if self.label_weights is not None and not self.multi_label:
            each = each * torch.tensor(self.label_weights, dtype=torch.float64, device=each.device)
        columns = y_pred.shape[1] if self.multi_label else 1
        buckets = self._buckets(y_pred).reshape(-1, columns)
        positive = torch.where(labels, each, 0.0).reshape(-1, columns)
        negative = torch.where(labels, 0.0, each).reshape(-1, columns)
        for weight, above, below in (
            (positive, self.true_positives, self.false_negatives),
            (negative, self.false_positives, self.true_negatives),
        ):
            found = self._above(buckets, weight)
            total = weight.sum(0)
            above.add_(found.reshape(above.shape))
            below.add_((total - found).reshape(below.shape))

    def _buckets(self, y_pred: Tensor) -> Tensor:
        """The last threshold that a prediction exceeds. For even thresholds from the value itself, with Keras's roundings."""
        if self._given_thresholds is None:
            return ((y_pred.clamp(0.0, 1.0) * (self.num_thresholds - 1)).ceil() - 1).long().clamp(0, self.num_thresholds - 1)
        thresholds = torch.tensor(self.thresholds, dtype=y_pred.dtype, device=y_pred.device)
        return (torch.bucketize(y_pred, thresholds) - 1).clamp(min=-1)

    def _above(self, buckets: Tensor, weight: Tensor) -> Tensor:
        """The weight above each threshold: `(thresholds, columns)`; a sum from the top of the weight in each bucket."""
        columns = weight.shape[1]
        inside = torch.zeros(self.num_thresholds + 1, columns, dtype=torch.float64, device=weight.device)
        inside.scatter_add_(0, buckets + 1, weight)  # row 0: above no threshold
        return inside[1:].flip(0).cumsum(0).flip(0)

    def result(self) -> Tensor:
        tp, fp, tn, fn = self.true_positives, self.false_positives, self.true_negatives, self.false_negatives
        if self.curve == "PR" and self.summation_method == "interpolation":
            return self._over_labels(self._interpolated_precision_recall())
        recall = divide(tp, tp + fn)
        x, y = (divide(fp, fp + tn), recall) if self.curve == "ROC" else (recall, divide(tp, tp + fp))
        if self.summation_method == "interpolation":
            heights = (y[:-1] + y[1:]) / 2.0
        else:
            heights = torch.minimum(y[:-1], y[1:]) if self.summation_method == "minoring" else torch.maximum(y[:-1], y[1:])
        return self._over_labels(((x[:-1] - x[1:]) * heights).sum(0))

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
        weights = torch.tensor(self.label_weights, dtype=torch.float64, device=areas.device)
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
