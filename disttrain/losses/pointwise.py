"""What the losses of numbers beside numbers have in common."""

from __future__ import annotations

import numpy as np
import torch

from disttrain.losses.base import Loss
from disttrain.losses.targets import check_finite, check_same_shape


class PointwiseLoss(Loss):
    """Base of losses that compare each number with its target: targets have the shape of the output, and are finite."""

    _elementwise = True

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)

    def check_targets(self, y: np.ndarray, output_shape: tuple[int, ...]) -> None:
        check_same_shape(self.name, y, output_shape)
        check_finite(self.name, y)
