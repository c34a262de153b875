"""What `compile(loss=..., loss_weights=...)` was given, fitted to a model's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain import losses
from disttrain.errors import DataError
from disttrain.losses.base import with_fraction
from disttrain.training.compiled.outputs import Outputs

_CHOSEN_BY_SHAPE = ("ce", "crossentropy")
_HALVES = (torch.bfloat16, torch.float16)


class CompiledLoss:
    """The weighted sum of the losses of the outputs.

    `slice_value` is the mean over the samples of one slice; the runtime multiplies by the slice's share of the batch, so that the slices
    add up to the mean over the batch. Losses are computed in float32 at least, whatever the layers compute in.

    Args:
        loss: a loss, or one for each output in a list, a dict by name or the outputs' structure; None for an output without a loss.
        loss_weights: a number, or one for each output in the same ways.

    Attributes:
        wanted: which outputs have a loss.
        parts: the losses of the outputs, unweighted, of the last `slice_value`.
    """

    def __init__(self, loss: Any, loss_weights: Any = None) -> None:
        if loss_weights is not None and (isinstance(loss_weights, bool) or not isinstance(loss_weights, list | tuple | dict | float | int)):
            raise ValueError(
                f"compile(loss_weights={loss_weights!r}): expected a number for one output, a list or a dict by name for several."
            )
        self._given, self._given_weights = loss, loss_weights
        self.outputs: Outputs | None = None
        self.losses: list[Any] = []
        self.weights: list[float] = []
        self.wanted: list[bool] = []
        self.parts: list[Tensor] = []

    @property
    def built(self) -> bool:
        """Is it fitted to a model's outputs?"""
        return self.outputs is not None

    def build(self, outputs: Outputs, y: Any, y_pred: Any) -> CompiledLoss:
        """Fit to `outputs`; an example's targets and outputs choose `"crossentropy"`.

        Raises:
            ValueError: losses for outputs that are not there, or another number of them.
        """
        self.outputs = outputs
        chosen = outputs.chosen("loss", self._given)
        predictions = outputs.leaves(y_pred)
        wanted = self.wanted = [entry is not None for entry in chosen]
        targets = outputs.aligned(y, "y", wanted=wanted)
        self.losses = [_resolved(entry, target, prediction) for entry, target, prediction in zip(chosen, targets, predictions, strict=True)]
        given = self._given_weights
        if outputs.count > 1 and isinstance(given, int | float):
            raise ValueError(f"compile(loss_weights={given!r}): one number for the {outputs.count} outputs {outputs.names}, expected each.")
        weights = outputs.chosen("loss_weights", given)
        self.weights = [1.0 if weight is None else float(weight) for weight in weights]
        self._single = self.losses[0] if outputs.count == 1 and self.weights[0] == 1.0 else None
        return self

    @property
    def given(self) -> Any:
        """What `compile(loss=...)` was given."""
        return self._given

    @property
    def empty(self) -> bool:
        """Has no output a loss?"""
        return not any(self.wanted) if self.built else self._given is None

    def slice_value(self, y: Any, y_pred: Any, sample_weight: Any, slice_fraction: float) -> Tensor | None:
        """The weighted total over a slice, a mean over its samples; None when no output has a loss."""
        if self._single is not None and isinstance(y_pred, Tensor) and not isinstance(y, dict | list | tuple):
            if y_pred.dtype in _HALVES:
                y_pred = single_precision(y_pred)
            if isinstance(sample_weight, dict | list | tuple):
                sample_weight = self._weights_of(sample_weight)[0]
            total: Tensor = self._single(y, y_pred, sample_weight, slice_fraction)
            self.parts = [total]
            return total
        assert self.outputs is not None
        targets = self.outputs.aligned(y, "y", wanted=self.wanted)
        outputs = self.outputs.leaves(y_pred)
        weights = self._weights_of(sample_weight)
        sum_: Tensor | None = None
        self.parts = []
        for target, output, weight, loss, scale in zip(targets, outputs, weights, self.losses, self.weights, strict=True):
            if loss is None:
                continue
            value = loss(target, single_precision(output), weight, slice_fraction)
            self.parts.append(value)
            scaled = value if scale == 1.0 else value * scale
            sum_ = scaled if sum_ is None else sum_ + scaled
        return sum_

    def _weights_of(self, sample_weight: Any) -> list[Any]:
        assert self.outputs is not None
        return self.outputs.aligned(sample_weight, "sample_weight", broadcast=True)

    def value_names(self) -> list[str]:
        """The names under which the outputs' own losses are logged: none for a single output, whose loss is `loss`."""
        if self.outputs is None or self.outputs.count == 1 or sum(self.wanted) < 2:
            return []
        return [f"{name}_loss" for name, loss in zip(self.outputs.names, self.losses, strict=True) if loss is not None]

    def note_targets(self, targets: Sequence[Any]) -> None:
        """Let the losses look at all targets that a call will bring: as arrays, None for those of a feed that nobody has seen whole."""
        if self.outputs is None:
            return
        columns = [[None] * self.outputs.count if y is None else self.outputs.aligned(y, "y", wanted=self.wanted) for y in targets]
        for number, loss in enumerate(self.losses):
            note = getattr(loss, "note_targets", None)
            if note is not None:
                note([None if column[number] is None else np.asarray(column[number]) for column in columns])

    def check_targets(self, y: Any, y_pred: Any) -> None:
        """Raise DataError for targets that no output could match, such as labels outside the classes.

        `y`: the targets as arrays; `y_pred`: the model's outputs for one sample or more.
        """
        if y is None or self.outputs is None:
            return
        targets = self.outputs.aligned(y, "y", wanted=self.wanted)
        for name, target, output, loss in zip(self.outputs.names, targets, self.outputs.leaves(y_pred), self.losses, strict=True):
            check = getattr(loss, "check_targets", None)
            if check is None or target is None:
                continue
            try:
                check(np.asarray(target), tuple(output.shape))
            except DataError as error:
                raise (DataError(f"output {name!r}: {error}") if self.outputs.count > 1 else error) from None

    def __getstate__(self) -> dict[str, Any]:
        """Without the losses of the last pass, which belong to its graph: a model can be copied after it was trained."""
        return {**self.__dict__, "parts": []}


def single_precision(output: Any) -> Any:
    """A half-precision tensor in float32, with its mask; anything else as it is."""
    if not isinstance(output, Tensor) or output.dtype not in _HALVES:
        return output
    exact = output.float()
    mask = getattr(output, "_keras_mask", None)
    if mask is not None:
        exact._keras_mask = mask  # type: ignore[attr-defined]
    return exact


def _resolved(entry: Any, target: Any, prediction: Any) -> Any:
    """A loss; `"crossentropy"` and `"ce"` by the shapes, as in Keras."""
    if isinstance(entry, list | tuple) and len(entry) == 1:  # {"output": ["mse"]}, as in Keras
        entry = entry[0]
    if not isinstance(entry, str) or entry.lower() not in _CHOSEN_BY_SHAPE:
        return with_fraction(losses.get(entry))
    if target is None:
        raise ValueError(f"loss={entry!r}: there are no targets to choose by.\n  try       a loss by its full name, or pass y")
    return losses.get(chosen_by_shape(tuple(target.shape), tuple(prediction.shape)))


def chosen_by_shape(y_shape: Sequence[int], y_pred_shape: Sequence[int]) -> str:
    """Which cross-entropy Keras takes: binary for outputs of size 1, sparse for targets of lower rank or of size 1, else categorical."""
    if len(y_pred_shape) < 2 or y_pred_shape[-1] == 1:
        return "binary_crossentropy"
    if len(y_shape) < len(y_pred_shape) or y_shape[-1] == 1:
        return "sparse_categorical_crossentropy"
    return "categorical_crossentropy"
