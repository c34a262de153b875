"""Circle loss: embeddings of one class together, of two apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from disttrain.errors import DataError
from disttrain.host_numbers import on_device
from disttrain.losses.base import Loss
from disttrain.losses.shapes import as_prediction
from disttrain.losses.targets import check_finite


def circle(
    y_true: Any,
    y_pred: Any,
    ref_labels: Any = None,
    ref_embeddings: Any = None,
    remove_diagonal: bool = True,
    gamma: float = 80,
    margin: float = 0.4,
) -> Tensor:
    """The circle loss of each embedding `(n, d)` of length 1 among the reference ones, or among themselves: `(n,)`. See `Circle`.

    Values of 0, where a sample has no partner or no opponent, are masked out of the mean.
    """
    embeddings = as_prediction(y_pred)
    labels = _labels(y_true, embeddings)
    others = embeddings if ref_embeddings is None else on_device(ref_embeddings, embeddings.device, embeddings.dtype)
    other_labels = labels if ref_labels is None else _labels(ref_labels, others)

    distance = (1.0 - embeddings @ others.t()).clamp(min=0.0)
    same = labels.unsqueeze(1) == other_labels
    partners = same & ~torch.eye(*same.shape, dtype=torch.bool, device=same.device) if remove_diagonal else same
    near = -gamma * (margin + distance).clamp(min=0.0) * (margin - distance)
    far = gamma * (1.0 + margin - distance).clamp(min=0.0) * (1.0 - margin - distance)
    pull = near.masked_fill(~partners, -torch.inf).logsumexp(1)
    push = far.masked_fill(same, -torch.inf).logsumexp(1)
    values = functional.softplus(pull + push)
    values._keras_mask = values > 0  # type: ignore[attr-defined]
    return values


def _labels(y: Any, embeddings: Tensor) -> Tensor:
    labels = on_device(y, embeddings.device)
    labels = labels.squeeze(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise DataError(
            f"circle: the labels have shape {tuple(labels.shape)}, the embeddings have shape {tuple(embeddings.shape)}.\n"
            "  expected  (n,) or (n, 1), and (n, size)"
        )
    return labels.long()


class Circle(Loss):
    """`softplus(logsumexp(partners) + logsumexp(opponents))` over the pairs of a slice (Sun et al. 2020, eq. 5 and 6).

    With d = 1 - cosine, a partner of the same class adds `-gamma * (margin + d) * (margin - d)`, an opponent of another class
    `gamma * max(1 + margin - d, 0) * (1 - margin - d)`. The embeddings must have length 1: end the model with `UnitNormalization`.

    Pairs are made within a slice: a batch of N samples in V slices has pairs among N / V samples only, so choose a batch size that
    leaves several of each class in a slice. The mean is over the values above 0 of a slice.

    Args:
        gamma: scale of the similarities, more than 0.
        margin: how near partners, and how far opponents, have to be.
        remove_diagonal: a sample is no partner of itself.
        reduction, name, dtype: see `Loss`.

    Shapes: `y_true` `(n,)` or `(n, 1)`, whole numbers; `y_pred` `(n, size)`; values `(n,)`.

    Raises:
        ValueError: an unknown `reduction` or `dtype`, a `gamma` of 0 or less.
        DataError: shapes that do not fit each other, or labels that are no whole numbers.

    Example:
        >>> loss = Circle(gamma=1.0, margin=0.5)
        >>> round(float(loss([0, 0, 1], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])), 4)  # softplus(-0.25 - 0.25)
        0.4741
    """

    def __init__(
        self,
        gamma: float = 80.0,
        margin: float = 0.4,
        remove_diagonal: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str = "circle",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        if not gamma > 0.0:
            raise ValueError(f"Circle(gamma={gamma!r}): expected more than 0.")
        self.gamma, self.margin, self.remove_diagonal = gamma, margin, bool(remove_diagonal)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return circle(y_true, y_pred, remove_diagonal=self.remove_diagonal, gamma=self.gamma, margin=self.margin)

    def check_targets(self, y: np.ndarray, output_shape: tuple[int, ...]) -> None:
        if len(output_shape) != 2 or y.shape[1:] not in ((), (1,)):
            raise DataError(
                f"{self.name}: y has shape {tuple(y.shape)}, the model's output has shape {('samples', *output_shape[1:])}.\n"
                "  expected  one label for each sample, and an embedding ('samples', size)"
            )
        check_finite(self.name, y)
        if y.dtype.kind not in "biu" and not (y.dtype.kind == "f" and (y == np.floor(y)).all()):
            raise DataError(f"{self.name}: y has dtype {y.dtype}.\n  expected  whole numbers, one label for each sample")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gamma": self.gamma, "margin": self.margin, "remove_diagonal": self.remove_diagonal}
