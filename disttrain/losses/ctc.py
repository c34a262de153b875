"""Connectionist temporal classification: sequences of labels beside longer sequences of outputs, without an alignment."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from disttrain.bounds import kept_in
from disttrain.errors import DataError
from disttrain.host_numbers import on_device
from disttrain.losses.base import Loss
from disttrain.losses.shapes import as_prediction
from disttrain.losses.targets import check_labels

BLANK = 0


def ctc(y_true: Any, y_pred: Any) -> Tensor:
    """Minus the log-likelihood of each sequence: labels `(n, length)`, logits `(n, steps, classes)`, values `(n,)`. See `CTC`."""
    logits = as_prediction(y_pred)
    labels = on_device(y_true, logits.device).long()
    if labels.ndim != 2 or logits.ndim != 3 or len(labels) != len(logits):
        raise DataError(
            f"ctc: y_true has shape {tuple(labels.shape)}, y_pred has shape {tuple(logits.shape)}.\n"
            "  expected  labels (n, length) padded with 0, and logits (n, steps, classes)"
        )
    labels = kept_in(labels, logits.shape[-1], "ctc: y_true has labels")
    # The kernel for CUDA adds up its gradient in no fixed order; where the same bits are wanted, the one for the CPU computes it.
    device = torch.device("cpu") if logits.is_cuda and torch.are_deterministic_algorithms_enabled() else logits.device
    exact = logits if logits.dtype in (torch.float32, torch.float64) else logits.float()  # torch has no kernel for halves
    log_p = torch.log_softmax(exact, -1).transpose(0, 1).to(device)
    steps = torch.full((len(logits),), logits.shape[1], dtype=torch.long, device=device)
    lengths = (labels != BLANK).sum(-1).to(device)
    values = functional.ctc_loss(log_p, labels.to(device), steps, lengths, blank=BLANK, reduction="none")
    return values.to(logits)


class CTC(Loss):
    """Minus the log-likelihood of a sequence of labels, over all its alignments with the outputs (Graves et al. 2006).

    The outputs are *logits*, `(n, steps, classes)`; class 0 is the blank between labels. The labels, `(n, length)`, are padded with 0.
    All steps of the outputs count. A sequence that does not fit, because it has more labels than there are steps (a label after itself
    takes one step more, for the blank between), has the loss infinity.

    Args:
        reduction, name, dtype: see `Loss`.

    Shapes: labels `(n, length)`, outputs `(n, steps, classes)`; values `(n,)`.

    Raises:
        ValueError: an unknown `reduction` or `dtype`.
        DataError: shapes that do not fit each other, labels outside of the classes or after padding, or more labels than there are steps.

    Example:
        >>> logits = torch.zeros(1, 2, 2)  # probability 1/2 everywhere; "a" is aa, a- and -a: 3 of 4 alignments
        >>> round(float(CTC()([[1, 0]], logits)), 4)
        0.2877
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "ctc",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return ctc(y_true, y_pred)

    def check_targets(self, y: np.ndarray, output_shape: tuple[int, ...]) -> None:
        if y.ndim != 2 or len(output_shape) != 3:
            raise DataError(
                f"{self.name}: y has shape {tuple(y.shape)}, the model's output has shape {('samples', *output_shape[1:])}.\n"
                "  expected  y of shape ('samples', length) and an output of shape ('samples', steps, classes)"
            )
        steps, classes = output_shape[1:]
        check_labels(self.name, y, classes, None)
        is_label = y != BLANK
        gaps = is_label[:, 1:] & ~is_label[:, :-1]
        if gaps.any():
            row = int(gaps.any(1).argmax())
            raise DataError(f"{self.name}: y[{row}] = {y[row].tolist()}.\n  expected  labels first, then zeros: 0 is padding and no label")
        repeats = (y[:, 1:] == y[:, :-1]) & is_label[:, 1:]
        needed = is_label.sum(1) + repeats.sum(1)
        if (needed > steps).any():
            row = int((needed > steps).argmax())
            raise DataError(
                f"{self.name}: y[{row}] takes {needed[row]} steps, the model's output has {steps}: the loss would be infinite.\n"
                "  expected  a step for each label, and one more wherever a label follows itself"
            )
