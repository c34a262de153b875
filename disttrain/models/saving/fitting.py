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
    """

    values: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    own: list[tuple[Any, dict[str, Any]]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def take(self, key: str, weight: Tensor, value: Tensor) -> None:
        """A value for the weight called `key`, if it fits."""
        problem = misfit(weight, value)
        if problem is None:
            self.values.append((weight, value))
        else:
            self.problems.append(f"{key}: {problem}")


def misfit(weight: Tensor, value: Tensor) -> str | None:
    """What is wrong with `value` for `weight`, in words; None if it fits, bit for bit.

    A number may be of another width (counts of other libraries, half precision read into single) as long as each stays what it is.
    """
    if value.shape != weight.shape:
        return f"shape {tuple(value.shape)} in the file, {tuple(weight.shape)} in the model"
    if value.dtype == weight.dtype:
        return None
    kinds = {(tensor.dtype.is_floating_point, tensor.dtype.is_complex) for tensor in (weight, value)}
    wider = torch.promote_types(value.dtype, weight.dtype) == weight.dtype
    if len(kinds) == 1 and (wider or torch.equal(value.to(weight.dtype).to(value.dtype), value)):
        return None
    rounded = "" if len(kinds) > 1 else ", which would round it: load into a model of the file's dtype, then set_weights(its get_weights())"
    return f"dtype {_name(value)} in the file, {_name(weight)} in the model{rounded}"


def _name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
