"""What a file has for a model, and whether it fits: nothing is broadcast, nothing rounded, and nothing left out, in silence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class Found:
    """What was found for the weights of a model, which is left alone so far.

    Args:
        values: (weight, its value in the file).
        own: (layer that reads its variables itself, they by name).
        problems: what does not fit, in words.
        rounded: what became narrower: (weight called so, dtype of the file, of the model).
    """

    values: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    own: list[tuple[Any, dict[str, Any]]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    rounded: list[tuple[str, str, str]] = field(default_factory=list)

    def take(self, key: str, weight: Tensor, value: Tensor) -> None:
        """A value for the weight called `key`, if it fits."""
        problem = misfit(weight, value)
        if problem is None:
            self.values.append((weight, value))
            if value.dtype != weight.dtype and not torch.equal(value.to(weight.dtype).to(value.dtype), value):
                self.rounded.append((key, _name(value), _name(weight)))
        else:
            self.problems.append(f"{key}: {problem}")


def misfit(weight: Tensor, value: Tensor) -> str | None:
    """What is wrong with `value` for `weight`, in words; None if it fits.

    Floats may be of another width, as in Keras; whole numbers too, as long as each stays what it is.
    """
    if value.shape != weight.shape:
        return f"shape {tuple(value.shape)} in the file, {tuple(weight.shape)} in the model"
    if value.dtype == weight.dtype:
        return None
    if value.is_floating_point() and weight.is_floating_point():
        return None
    whole = not any(tensor.dtype.is_floating_point or tensor.dtype.is_complex for tensor in (weight, value))
    if whole and torch.equal(value.to(weight.dtype).to(value.dtype), value):
        return None
    return f"dtype {_name(value)} in the file, {_name(weight)} in the model"


def _name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
