"""Cross-entropy of one-hot targets in which easy samples count less."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.losses.crossentropy import OneHotTargets, one_hot_beside, shares, smoothed_over_classes


def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: float | Sequence[float] = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """The focal cross-entropy over the classes on `axis`: `(n, classes) -> (n,)`. See `CategoricalFocalCrossentropy`."""
    targets, outputs = one_hot_beside("categorical_focal_crossentropy", y_true, y_pred)
    targets = smoothed_over_classes(targets, label_smoothing, axis)
    p = shares(torch.softmax(outputs, axis) if from_logits else outputs, axis)
    weight = (1.0 - p).pow(gamma) * _by_class(alpha, p, axis)
    values: Tensor = weight * torch.special.xlogy(targets, p)
    return values.sum(axis).neg()


class CategoricalFocalCrossentropy(OneHotTargets):
    """`-sum(alpha * (1 - p)**gamma * t * log(p))` over the classes (Lin et al. 2017); `p` as in `CategoricalCrossentropy`.

    Args:
        alpha: a weight for all classes, or a list of one for each.
        gamma: how much less easy samples count, 0 or more; 0 is the plain cross-entropy, times alpha.
        from_logits: the outputs are logits, before a softmax.
        label_smoothing: moves this fraction of each target to all classes alike, 0 to 1.
        axis: the axis of the classes.
        reduction, name, dtype: see `Loss`.

    Shapes: `y_true` (one-hot or probabilities) and `y_pred` `(n, ..., classes)`, the same; values `(n, ...)`.

    Raises:
        ValueError: an unknown `reduction` or `dtype`, an `alpha` or `gamma` below 0, weights that are not one for each class, a
            `label_smoothing` outside of 0 to 1.
        DataError: shapes that do not fit each other, or targets outside of 0 to 1.

    Example:
        >>> round(float(CategoricalFocalCrossentropy(alpha=1.0)([[0.0, 1.0]], [[0.5, 0.5]])), 4)  # 0.5**2 * 0.6931
        0.1733
    """

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_focal_crossentropy",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.alpha = alpha if isinstance(alpha, int | float) else [float(weight) for weight in alpha]
        if any(not weight >= 0.0 for weight in (self.alpha if isinstance(self.alpha, list) else [self.alpha])):
            raise ValueError(f"CategoricalFocalCrossentropy(alpha={alpha!r}): expected weights of 0 or more.")
        if not gamma >= 0.0:
            raise ValueError(f"CategoricalFocalCrossentropy(gamma={gamma!r}): expected a number, 0 or more.")
        self.gamma = gamma

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return categorical_focal_crossentropy(
            y_true, y_pred, self.alpha, self.gamma, self.from_logits, self.label_smoothing, self.axis
        )  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha, "gamma": self.gamma}


def _by_class(alpha: float | Sequence[float], p: Tensor, axis: int) -> float | Tensor:
    if isinstance(alpha, int | float):
        return alpha
    classes = p.shape[axis]
    if len(alpha) != classes:
        raise ValueError(
            f"categorical_focal_crossentropy(alpha={list(alpha)}): expected a number, or one weight for each of the {classes} classes."
        )
    weights = torch.as_tensor(alpha, dtype=p.dtype).to(p.device, non_blocking=True)  # does not wait for what runs on the device
    return weights.view([-1] + [1] * (p.ndim - 1 - axis % p.ndim))
