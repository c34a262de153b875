"""Which of two lists are the weights and which their gradients: Keras hands the gradients over first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from disttrain.errors import UsageError


def gradients_and_weights(optimizer: Any, first: Sequence[Any], second: Sequence[Any] | None) -> tuple[list[Any], list[Tensor]]:
    """(gradients, weights) from both in either order, which the tensors themselves tell: a weight is a leaf that wants a gradient.

    Raises:
        UsageError: they do not tell, or there is one list only.
    """
    name = type(optimizer).__name__
    if second is None:
        raise UsageError(f"{name}.apply(grads): of which weights?\n  expected  apply(grads, trainable_variables), as in Keras")
    if len(first) != len(second):
        raise UsageError(f"{name}.apply: {len(first)} gradients for {len(second)} weights.\n  expected  apply(grads, trainable_variables)")
    first_are, second_are = _are_weights(first), _are_weights(second)
    if first_are == second_are:
        first_are, second_are = _have_gradients(first, second), _have_gradients(second, first)
    if first_are == second_are:
        first_are, second_are = None in second, None in first
    if first_are == second_are:
        raise UsageError(
            f"{name}.apply: which are the gradients? Neither list holds weights that want a gradient, or both do.\n"
            "  expected  apply(grads, trainable_variables), as in Keras, with weights such as model.trainable_weights\n"
            "  try       apply_to(weights, gradients), which takes any tensors"
        )
    return (list(second), list(first)) if first_are else (list(first), list(second))


def _are_weights(tensors: Sequence[Any]) -> bool:
    return any(isinstance(t, nn.Parameter) or (isinstance(t, Tensor) and t.requires_grad and t.is_leaf) for t in tensors)


def _have_gradients(weights: Sequence[Any], gradients: Sequence[Any]) -> bool:
    """Do some of `gradients` hang on `weights`?"""
    pairs = zip(weights, gradients, strict=True)
    return any(isinstance(w, Tensor) and w.is_leaf and w.grad is not None and w.grad is g for w, g in pairs)
