"""The coefficient of determination."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from disttrain.errors import DataError
from disttrain.metrics.base import Metric
from disttrain.metrics.shapes import fitted_weights, rows, without_gradient

AGGREGATIONS = (None, "uniform_average", "variance_weighted_average")
ROUNDING = 1e-12  # of a sum of squares about the mean, relative to the sum of squares, from which it was computed in float64


class R2Score(Metric):
    """`1 - sum((t - p)**2) / sum((t - mean(t))**2)`: the share of the targets' variance that predictions explain; 0 is the mean's score.

    Args:
        class_aggregation: how the scores of the outputs become one: "uniform_average", "variance_weighted_average", or None for a vector.
        num_regressors: of a linear model; with more than 0 the result is the adjusted score.

    Variables: `num_samples ()`, then `squared_sum`, `sum`, `residual`, `count`, each `(outputs,)`.

    Targets whose variance is less than 1e-12 of their mean square count as constant, and score 0 unless predicted exactly (then NaN).

    Example:
        >>> round(float(R2Score()([[1.0], [4.0], [3.0]], [[2.0], [4.0], [4.0]])), 4)
        0.5714
    """

    _direction = "up"

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str | None = "r2_score",
        dtype: str | None = None,
    ) -> None:
        super().__init__(dtype, name)
        if class_aggregation not in AGGREGATIONS:
            raise ValueError(
                f"R2Score(class_aggregation={class_aggregation!r}): Invalid value for argument `class_aggregation`. "
                f"Expected one of {list(AGGREGATIONS)}."
            )
        if isinstance(num_regressors, bool) or not isinstance(num_regressors, int) or num_regressors < 0:
            raise ValueError(
                f"R2Score(num_regressors={num_regressors!r}): Invalid value for argument `num_regressors`. Expected an integer, 0 or more."
            )
        self.class_aggregation, self.num_regressors = class_aggregation, num_regressors
        self.num_samples = self.add_variable(name="num_samples")
        self._outputs: int | None = None

    def build(self, y_shape: tuple[int, ...] | None, y_pred_shape: tuple[int, ...]) -> None:
        if len(y_pred_shape) != 2:
            raise DataError(f"R2Score: y_pred has shape {tuple(y_pred_shape)}; expected (samples, outputs).")
        if self._outputs is None:
            self._outputs = y_pred_shape[1]
            self.squared_sum = self.add_variable((self._outputs,), name="squared_sum")
            self.sum = self.add_variable((self._outputs,), name="sum")
            self.total_mse = self.add_variable((self._outputs,), name="residual")
            self.count = self.add_variable((self._outputs,), name="count")
        elif self._outputs != y_pred_shape[1]:
            raise DataError(f"R2Score: y_pred has shape {tuple(y_pred_shape)}; expected {self._outputs} outputs, as before.")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        targets, outputs = rows("R2Score", y_true, without_gradient(y_pred), mend_rank=True)
        self.build(None, tuple(outputs.shape))
        targets, outputs = targets.to(torch.float64), outputs.to(torch.float64)
        weights = torch.ones((), dtype=torch.float64) if sample_weight is None else fitted_weights(sample_weight, targets)
        weights = weights.to(targets.device).expand_as(targets)
        weighted = targets * weights
        self.sum.add_(weighted.sum(0))
        self.squared_sum.add_((targets * weighted).sum(0))
        self.total_mse.add_(((targets - outputs).square() * weights).sum(0))
        self.count.add_(weights.sum(0))
        self.num_samples.add_(targets.numel())

    def result(self) -> Tensor:
        if self._outputs is None:
            return torch.zeros((), dtype=torch.float64)
        total = self.squared_sum - self.sum.square() / self.count
        total = torch.where(total > ROUNDING * self.squared_sum, total, 0.0)
        scores = 1.0 - self.total_mse / total
        scores = torch.where(scores.isinf(), 0.0, scores)
        if self.class_aggregation == "uniform_average":
            scores = scores.mean()
        elif self.class_aggregation == "variance_weighted_average":
            scores = (total * scores).sum() / total.sum()
        return self._adjusted(scores) if self.num_regressors else scores

    def _adjusted(self, scores: Tensor) -> Tensor:
        """The score less what that many regressors explain by chance."""
        samples = float(self.num_samples)
        free = samples - self.num_regressors - 1.0
        if free > 0:
            return 1.0 - (1.0 - scores) * (samples - 1.0) / free
        warnings.warn(
            f"R2Score(num_regressors={self.num_regressors}): {samples:.0f} targets are too few to adjust by: this is the plain score.",
            stacklevel=3,
        )
        return scores

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "class_aggregation": self.class_aggregation, "num_regressors": self.num_regressors}
