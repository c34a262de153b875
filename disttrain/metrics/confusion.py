"""Counts of right and wrong yes-or-no predictions, at one threshold or many: the base of the metrics made from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.errors import DataError
from disttrain.metrics.base import Metric
from disttrain.metrics.shapes import as_prediction, comparable, fitted_weights, without_gradient
from disttrain.running_sums import running_sum

NEVER = -1e10  # Keras's score of a class outside the k largest, below every threshold
SPACING = 1e-7  # how far thresholds may be from evenly spaced ones


def checked_thresholds(metric: str, thresholds: Any, argument: str = "thresholds") -> list[float]:
    """The thresholds as a list. Raises ValueError for none, or one outside 0 to 1."""
    given = thresholds.tolist() if isinstance(thresholds, np.ndarray | Tensor) else thresholds
    several = list(given) if isinstance(given, Sequence) else [given]
    wrong = [t for t in several if t is None or not 0.0 <= float(t) <= 1.0]
    if wrong:
        raise ValueError(f"{metric}({argument}={thresholds!r}): Threshold values must be in [0, 1]. Received: {wrong}")
    return [float(t) for t in several]


def check_class_id(metric: str, class_id: Any) -> None:
    """Raises ValueError for what is no class number."""
    if class_id is not None and (isinstance(class_id, bool) or not isinstance(class_id, int) or class_id < 0):
        raise ValueError(f"{metric}(class_id={class_id!r}): expected an integer, 0 or more, or None for all classes.")


def evenly_spaced(thresholds: Sequence[float]) -> bool:
    """Whether these are 0, 1 / (n - 1), ..., 1, three or more: then a score's place follows from its value."""
    even = np.arange(len(thresholds), dtype=np.float32) / max(len(thresholds) - 1, 1)
    return len(thresholds) >= 3 and bool(np.allclose(thresholds, even, atol=SPACING))


class ConfusionMetric(Metric):
    """Base: counts at each threshold of the predictions above it and not, that should be and should not.

    A prediction counts as positive when it is strictly above a threshold. At one threshold the counts are a comparison and a few sums. At
    many, each prediction falls into the bucket between two thresholds, and the counts are sums over the buckets above and below: a few
    operations on the samples however many thresholds there are. Between evenly spaced thresholds a bucket's number follows from the
    value, rounded as Keras rounds it; between others it is searched for.

    A subclass names the counts that it keeps, each a variable of a number for each threshold.
    """

    _keeps: tuple[str, ...] = ("true_positives", "false_positives", "true_negatives", "false_negatives")
    thresholds: list[float]

    def __init__(
        self,
        thresholds: list[float],
        evenly: bool,
        name: str | None,
        dtype: str | None,
        top_k: int | None = None,
        class_id: int | None = None,
    ) -> None:
        super().__init__(dtype, name)
        check_class_id(type(self).__name__, class_id)
        self.thresholds = thresholds
        self.top_k, self.class_id = top_k, class_id
        self._evenly = evenly
        order = sorted(range(len(thresholds)), key=thresholds.__getitem__)
        self._sorted = torch.tensor([thresholds[place] for place in order], dtype=torch.float32)
        self._places = None if order == list(range(len(order))) else torch.tensor(order).argsort()

    def _add_counts(self, *shape: int) -> None:
        for name in self._keeps:
            setattr(self, name, self.add_variable((len(self.thresholds), *shape), name=name))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        labels, scores, weights = self._prepared(y_true, y_pred, sample_weight)
        for name, counts in self._counts(labels, scores, weights, 1).items():
            if name in self._keeps:
                getattr(self, name).add_(counts.squeeze(-1))

    def _prepared(self, y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        """(labels as bool, predictions as float32, weights as float64 or None), all of one shape."""
        y_pred = as_prediction(without_gradient(y_pred))
        self._check_classes(tuple(y_pred.shape))
        classes = 0 if y_pred.ndim == 1 else -1  # where they lie below
        y_true, y_pred = comparable(type(self).__name__, y_true, y_pred)
        y_pred = y_pred.to(torch.float32)
        weights = None if sample_weight is None else fitted_weights(sample_weight, y_pred)
        if self.top_k is not None:
            kept = torch.zeros_like(y_pred, dtype=torch.bool).scatter_(classes, y_pred.topk(self.top_k, dim=classes).indices, True)
            y_pred = torch.where(kept, y_pred, NEVER)
        if self.class_id is not None:
            y_true, y_pred = y_true[..., self.class_id, None], y_pred[..., self.class_id, None]
            if weights is not None and weights.ndim and weights.shape[-1] > 1:
                weights = weights[..., self.class_id, None]
        return y_true.bool(), y_pred, weights if weights is None else weights.expand(y_pred.shape)

    def _check_classes(self, shape: tuple[int, ...]) -> None:
        for argument, least in (("top_k", self.top_k), ("class_id", None if self.class_id is None else self.class_id + 1)):
            # One vector is the classes of one sample where a metric is called by hand; in `fit` it is a batch, of which each slice
            # would have its own k largest.
            axes = 1 if argument == "top_k" and not self._fitted else 2
            if least is not None and (len(shape) < axes or shape[-1] < least):
                given = f"{type(self).__name__}({argument}={getattr(self, argument)})"
                told = "When class_id is provided, y_pred must be a 2D array with shape (num_samples, num_classes), found shape:"
                raise DataError(
                    f"{given}: {told if argument == 'class_id' and len(shape) < 2 else 'y_pred has shape'} {shape}.\n"
                    f"  expected  (samples, classes), {least} classes or more"
                )

    def _counts(self, labels: Tensor, scores: Tensor, weights: Tensor | None, columns: int) -> dict[str, Tensor]:
        """The counts by name, each `(thresholds, columns)`; predictions of several axes are laid out as rows of `columns`."""
        if len(self.thresholds) == 1 and columns == 1:
            return self._counts_at_one(labels, scores, weights)
        buckets = self._buckets(scores).reshape(-1, columns)
        many = len(self.thresholds) + 1
        places = buckets + labels.reshape(-1, columns) * many
        if weights is None:
            weights = torch.ones((), dtype=torch.float64, device=scores.device).expand(places.shape)
        inside = torch.zeros(2 * many, columns, dtype=torch.float64, device=scores.device)
        inside = inside.scatter_add_(0, places, weights.reshape(places.shape)).view(2, many, columns)  # negatives, positives
        above = running_sum(inside[:, 1:].flip(1), 1).flip(1)
        below = running_sum(inside[:, :-1], 1)
        if self._places is not None:
            above, below = above[:, self._places], below[:, self._places]
        return {"true_positives": above[1], "false_positives": above[0], "true_negatives": below[0], "false_negatives": below[1]}

    def _counts_at_one(self, labels: Tensor, scores: Tensor, weights: Tensor | None) -> dict[str, Tensor]:
        above = scores > self.thresholds[0]
        counts = {}
        for name in self._keeps:
            if name == "true_positives":
                chosen = above & labels
            elif name == "false_positives":
                chosen = above > labels  # of bools: above, and not a positive
            elif name == "false_negatives":
                chosen = labels > above
            else:
                chosen = ~(labels | above)
            counts[name] = chosen.count_nonzero() if weights is None else torch.where(chosen, weights, 0.0).sum()
        return {name: count.view(1, 1) for name, count in counts.items()}

    def _buckets(self, scores: Tensor) -> Tensor:
        """How many thresholds a score is above."""
        if self._evenly:
            buckets = (scores.clamp(0.0, 1.0) * (len(self.thresholds) - 1)).ceil().long()
            return buckets.clamp(min=1 if self.thresholds[0] < 0.0 else 0)  # all are above a threshold below 0; NaN becomes negative
        return torch.bucketize(scores.nan_to_num(NEVER, posinf=None, neginf=None), self._sorted.to(scores.device))
