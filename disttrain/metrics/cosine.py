"""How far two vectors point the same way."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.metrics.reductions import MeanOfOwnFunction, check_axis
from disttrain.metrics.shapes import rows

LARGEST = 1e7  # of 1 / norm, as in Keras: a vector of zeros stays one


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """The cosine of the angle between targets and predictions along `axis`, from -1 to 1: `(n, d) -> (n,)`."""
    targets, outputs = rows("cosine_similarity", y_true, y_pred, mend_rank=True)
    return (_unit(targets, axis) * _unit(outputs, axis)).sum(axis)


def _unit(x: Tensor, axis: int) -> Tensor:
    return x * x.square().sum(axis, keepdim=True).rsqrt().clamp(max=LARGEST)


class CosineSimilarity(MeanOfOwnFunction):
    """The mean cosine between targets and predictions; 1 is the same direction. (The loss of that name is its negative.)

    Args:
        axis: the axis along which a vector lies; not that of the samples, 0.

    Example:
        >>> round(float(CosineSimilarity()([[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]])), 4)
        0.5
    """

    _direction = "up"

    def __init__(self, name: str | None = "cosine_similarity", dtype: str | None = None, axis: int = -1) -> None:
        check_axis("CosineSimilarity", axis)
        super().__init__(cosine_similarity, name, dtype, axis=axis)
