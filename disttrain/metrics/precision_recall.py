"""Precision and recall, at thresholds or among the k largest outputs."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.metrics.base import Variable, divide
from disttrain.metrics.confusion import NEVER, ConfusionMetric, checked_thresholds, evenly_spaced


class _ShareOfPositives(ConfusionMetric):
    """Base: true positives over all that are positive in one sense or the other, 0 where there are none."""

    _direction = "up"
    true_positives: Variable

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        kind = type(self).__name__
        if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
            raise ValueError(f"{kind}(top_k={top_k!r}): expected an integer, 1 or more, or None.")
        default = [0.5] if top_k is None else [NEVER]
        listed = default if thresholds is None else checked_thresholds(kind, thresholds)
        super().__init__(listed, evenly_spaced(listed), name, dtype, top_k, class_id)
        self.init_thresholds = thresholds
        self._add_counts()

    def result(self) -> Tensor:
        others = self.variables[1]
        shares = divide(self.true_positives, self.true_positives + others)
        return shares[0] if len(self.thresholds) == 1 else shares

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": self.init_thresholds, "top_k": self.top_k, "class_id": self.class_id}


class Precision(_ShareOfPositives):
    """`true positives / (true positives + false positives)`, 0 where nothing was predicted.

    Args:
        thresholds: predictions strictly above count as positive; several give a result for each. 0.5 unless told, and none with `top_k`.
            For logits 0 is the middle.
        top_k: of each row the k largest predictions count as positive.
        class_id: look at this class of `(samples, classes)` only.

    Variables: `true_positives (thresholds,)`, `false_positives (thresholds,)`.

    Example:
        >>> float(Precision()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0]))
        0.6666666666666666
    """

    _keeps = ("true_positives", "false_positives")
    false_positives: Variable


class Recall(_ShareOfPositives):
    """`true positives / (true positives + false negatives)`, 0 where there is no positive; arguments as `Precision` has them.

    Variables: `true_positives (thresholds,)`, `false_negatives (thresholds,)`.

    Example:
        >>> float(Recall()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0]))
        0.6666666666666666
    """

    _keeps = ("true_positives", "false_negatives")
    false_negatives: Variable
