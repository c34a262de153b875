"""Labels and sequences as arrays that models take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray:
    """One-hot rows of the integers in `x`: shape `(..., num_classes)`, float64; a last axis of size 1 is left away.

    Args:
        num_classes: the largest label and 1 unless told.

    Raises:
        ValueError: labels that are no integers, or not from 0 to `num_classes - 1`.

    Example:
        >>> to_categorical([0, 2]).tolist()
        [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    given = np.asarray(x)
    labels = given.astype(np.int64)
    if not np.array_equal(labels, given):
        raise ValueError(f"to_categorical: x has values such as {given[labels != given][0]}, expected integers.")
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if num_classes is None:
        num_classes = int(labels.max()) + 1 if labels.size else 0
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(f"to_categorical: x has labels from {labels.min()} to {labels.max()}, expected 0 to {num_classes - 1}.")
    return np.eye(num_classes)[labels]


def pad_sequences(
    sequences: Sequence[Any],
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0.0,
) -> np.ndarray:
    """Sequences of different lengths as one array `(len(sequences), maxlen, ...)`.

    Args:
        maxlen: the longest unless told.
        padding, truncating: `"pre"` or `"post"`: where `value` is put in, and where what is too long loses steps.

    Raises:
        ValueError: something that is no sequence, or steps of different shapes.

    Example:
        >>> pad_sequences([[1], [2, 3]], padding="post").tolist()
        [[1, 0], [2, 3]]
    """
    for name, wish in (("padding", padding), ("truncating", truncating)):
        if wish not in ("pre", "post"):
            raise ValueError(f"pad_sequences({name}={wish!r}): expected 'pre' or 'post'.")
    for number, sequence in enumerate(sequences):
        if not hasattr(sequence, "__len__"):
            raise ValueError(f"pad_sequences: sequences[{number}] is {sequence!r}, expected a sequence.")
    length = max((len(sequence) for sequence in sequences), default=0) if maxlen is None else maxlen
    step = next((np.asarray(sequence).shape[1:] for sequence in sequences if len(sequence)), ())
    padded = np.full((len(sequences), length, *step), value, dtype=dtype)
    for number, sequence in enumerate(sequences):
        kept = np.asarray(sequence, dtype=dtype)[max(0, len(sequence) - length) if truncating == "pre" else 0 :][:length]
        if len(kept) and kept.shape[1:] != step:
            raise ValueError(f"pad_sequences: steps of sequences[{number}] have shape {kept.shape[1:]}, those before {step}.")
        start = length - len(kept) if padding == "pre" else 0
        padded[number, start : start + len(kept)] = kept
    return padded


def normalize(x: Any, axis: int = -1, order: int = 2) -> Any:
    """Vectors along `axis` of length 1 in the norm of `order`; one of length 0 stays. A tensor gives a tensor, the rest an array.

    Example:
        >>> normalize([[3.0, 4.0]]).tolist()
        [[0.6, 0.8]]
    """
    if not isinstance(order, int) or order < 1:
        raise ValueError(f"normalize(order={order!r}): expected a whole number of 1 or more.")
    if isinstance(x, torch.Tensor):
        lengths = torch.linalg.vector_norm(x, order, dim=axis, keepdim=True)
        return x / torch.where(lengths == 0, 1.0, lengths)
    array = np.asarray(x)
    lengths = np.atleast_1d(np.linalg.norm(array, order, axis))
    return array / np.expand_dims(np.where(lengths == 0, 1, lengths), axis)
