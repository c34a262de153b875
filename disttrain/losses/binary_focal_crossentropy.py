"""Cross-entropy of yes-or-no outputs in which easy samples count less."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.losses.crossentropy import BinaryTargets, binary_of_probabilities, smoothed_to_half
from disttrain.losses.shapes import aligned


def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """The mean focal cross-entropy over `axis`: `(n, d) -> (n,)`. See `BinaryFocalCrossentropy`."""
    targets, outputs = aligned("binary_focal_crossentropy", y_true, y_pred)
    targets = smoothed_to_half(targets, label_smoothing)
    p = torch.sigmoid(outputs) if from_logits else outputs
    wrong = 1.0 - torch.lerp(1.0 - p, p, targets)  # 1 - p for a yes, p for a no
    values = wrong.pow(gamma) * binary_of_probabilities(targets, p)
    if apply_class_balancing:
        values = (targets * alpha + (1.0 - targets) * (1.0 - alpha)) * values
    return values.mean(axis)


class BinaryFocalCrossentropy(BinaryTargets):
    """`(1 - p_t)**gamma * crossentropy`, mean over `axis`; `p_t` is the probability of the right answer (Lin et al. 2017, eq. 4 and 5).

    Args:
        apply_class_balancing: weigh a yes by `alpha`, a no by `1 - alpha`.
        alpha: see above, 0 to 1.
        gamma: how much less easy samples count, 0 or more; 0 is the plain cross-entropy.
        from_logits: the outputs are logits, before a sigmoid.
        label_smoothing: pulls targets towards 0.5 by this fraction, 0 to 1.
        axis: the axis of the mean.
        reduction, name, dtype: see `Loss`.

    Shapes: `y_true` and `y_pred` `(n, ...)`, the same; values `(n, ...)` without the last axis.

    Raises:
        ValueError: an unknown `reduction` or `dtype`, an `alpha` outside of 0 to 1, a `gamma` below 0, a `label_smoothing` outside of 0 to
            1.
        DataError: shapes that do not fit each other, or targets outside of 0 to 1.

    Example:
        >>> round(float(BinaryFocalCrossentropy()([[1.0]], [[0.5]])), 4)  # 0.5**2 * 0.6931
        0.1733
    """

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_focal_crossentropy",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        if not 0.0 <= alpha <= 1.0:
            raise ValueError(f"BinaryFocalCrossentropy(alpha={alpha!r}): expected a weight of a yes from 0 to 1.")
        if not gamma >= 0.0:
            raise ValueError(f"BinaryFocalCrossentropy(gamma={gamma!r}): expected a number, 0 or more.")
        self.apply_class_balancing, self.alpha, self.gamma = bool(apply_class_balancing), alpha, gamma

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        focal = (self.apply_class_balancing, self.alpha, self.gamma)
        return binary_focal_crossentropy(y_true, y_pred, *focal, self.from_logits, self.label_smoothing, self.axis)

    def get_config(self) -> dict[str, Any]:
        own = {"apply_class_balancing": self.apply_class_balancing, "alpha": self.alpha, "gamma": self.gamma}
        return {**super().get_config(), **own}
