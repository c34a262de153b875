"""Cross-entropies of yes-or-no outputs, of one-hot or soft targets and of labels, as the losses of those names have them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from disttrain.host_numbers import on_device
from disttrain.metrics.reductions import MeanOfOwnFunction, check_axis
from disttrain.metrics.shapes import aligned, as_prediction, labels_and_scores, rows, score_of_label

EPSILON = 1e-7


def binary_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1) -> Tensor:
    """`-(t * log(p) + (1 - t) * log(1 - p))`, the mean over `axis`: `(n, d) -> (n,)`; `p` is clipped to 1e-7 to 1 - 1e-7."""
    targets, outputs = aligned("binary_crossentropy", y_true, y_pred)
    if label_smoothing:
        targets = targets * (1.0 - label_smoothing) + 0.5 * label_smoothing
    if from_logits:
        return functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none").mean(axis)
    return functional.binary_cross_entropy(outputs.clamp(EPSILON, 1.0 - EPSILON), targets, reduction="none").mean(axis)


def categorical_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1) -> Tensor:
    """`-sum(t * log(p))` over the classes on `axis`, `p` scaled to a sum of 1 and clipped: `(n, classes) -> (n,)`."""
    targets, outputs = rows("categorical_crossentropy", y_true, y_pred)
    targets = _smoothed(targets, label_smoothing)
    log_p = torch.log_softmax(outputs, axis) if from_logits else _probabilities(outputs, axis).log()
    return -(targets * log_p).sum(axis)


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Tensor:
    """`-log(p[label])`, `p` scaled to a sum of 1 and clipped: labels `(n,)` or `(n, 1)`, outputs `(n, classes)`, values `(n,)`.

    Values of ignored labels are 0 and carry a mask, by which a metric leaves them out.
    """
    name = "sparse_categorical_crossentropy"
    scores = as_prediction(y_pred)
    y_true = on_device(y_true, scores.device)
    if y_true.ndim == scores.ndim and y_true.shape[axis] == 1:
        y_true = y_true.squeeze(axis)
    labels, scores = labels_and_scores(name, y_true, scores.movedim(axis, -1))
    valid = None if ignore_class is None else labels != ignore_class
    if valid is not None:
        labels = torch.where(valid, labels, 0)
    if from_logits:
        values = scores.logsumexp(-1) - score_of_label(name, labels, scores).squeeze(-1)
    else:
        own = score_of_label(name, labels, scores).squeeze(-1)
        values = (own / scores.sum(-1)).clamp(EPSILON, 1.0 - EPSILON).log().neg()
    if valid is not None:
        values = torch.where(valid, values, 0.0)
        values._keras_mask = valid  # type: ignore[attr-defined]
    return values


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
    """The binary cross-entropy times `(1 - p_t)**gamma`, which plays down what is easy (Lin et al. 2018): `(n, d) -> (n,)`.

    With `apply_class_balancing` ones weigh `alpha` and zeros `1 - alpha`.
    """
    targets, outputs = aligned("binary_focal_crossentropy", y_true, y_pred)
    if label_smoothing:
        targets = targets * (1.0 - label_smoothing) + 0.5 * label_smoothing
    outputs = outputs.sigmoid() if from_logits else outputs
    entropy = functional.binary_cross_entropy(outputs.clamp(EPSILON, 1.0 - EPSILON), targets, reduction="none")
    values = (1.0 - (targets * outputs + (1.0 - targets) * (1.0 - outputs))).pow(gamma) * entropy
    if apply_class_balancing:
        values = (targets * alpha + (1.0 - targets) * (1.0 - alpha)) * values
    return values.mean(axis)


def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """`-sum(alpha * (1 - p)**gamma * t * log(p))` over the classes on `axis` (Lin et al. 2018): `(n, classes) -> (n,)`."""
    targets, outputs = rows("categorical_focal_crossentropy", y_true, y_pred)
    targets = _smoothed(targets, label_smoothing)
    p = _probabilities(torch.softmax(outputs, axis) if from_logits else outputs, axis)
    return ((1.0 - p).pow(gamma) * alpha * (-targets * p.log())).sum(axis)


def _smoothed(targets: Tensor, label_smoothing: float) -> Tensor:
    return targets * (1.0 - label_smoothing) + label_smoothing / targets.shape[-1] if label_smoothing else targets


def _probabilities(outputs: Tensor, axis: int) -> Tensor:
    return (outputs / outputs.sum(axis, keepdim=True)).clamp(EPSILON, 1.0 - EPSILON)


def _check_smoothing(metric: str, label_smoothing: float) -> None:
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"{metric}(label_smoothing={label_smoothing!r}): expected a fraction from 0 to 1.")


class BinaryCrossentropy(MeanOfOwnFunction):
    """The mean of `-(t * log(p) + (1 - t) * log(1 - p))`.

    Args:
        from_logits: the outputs are logits, before a sigmoid.
        label_smoothing: pulls targets towards 0.5 by this fraction, 0 to 1.

    Example:
        >>> round(float(BinaryCrossentropy()([[1.0]], [[0.5]])), 4)
        0.6931
    """

    def __init__(
        self, name: str | None = "binary_crossentropy", dtype: str | None = None, from_logits: bool = False, label_smoothing: float = 0.0
    ) -> None:
        _check_smoothing("BinaryCrossentropy", label_smoothing)
        super().__init__(binary_crossentropy, name, dtype, from_logits=from_logits, label_smoothing=label_smoothing)


class CategoricalCrossentropy(MeanOfOwnFunction):
    """The mean of `-sum(t * log(p))` over the classes.

    Args:
        from_logits: the outputs are logits, before a softmax.
        label_smoothing: moves this fraction of each target to all classes alike, 0 to 1.
        axis: the axis of the classes.

    Example:
        >>> round(float(CategoricalCrossentropy()([[0.0, 1.0]], [[1.0, 3.0]])), 4)
        0.2877
    """

    def __init__(
        self,
        name: str | None = "categorical_crossentropy",
        dtype: str | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ) -> None:
        _check_smoothing("CategoricalCrossentropy", label_smoothing)
        check_axis("CategoricalCrossentropy", axis)
        super().__init__(categorical_crossentropy, name, dtype, from_logits=from_logits, label_smoothing=label_smoothing, axis=axis)


class SparseCategoricalCrossentropy(MeanOfOwnFunction):
    """The mean of `-log(p[label])`.

    Args:
        from_logits: the outputs are logits, before a softmax.
        ignore_class: a label whose samples do not count. (Keras counts them, as zeros, unless there are sample weights.)
        axis: the axis of the classes.

    Example:
        >>> round(float(SparseCategoricalCrossentropy()([1], [[1.0, 3.0]])), 4)
        0.2877
    """

    def __init__(
        self,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: str | None = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        check_axis("SparseCategoricalCrossentropy", axis)
        super().__init__(sparse_categorical_crossentropy, name, dtype, from_logits=from_logits, ignore_class=ignore_class, axis=axis)
