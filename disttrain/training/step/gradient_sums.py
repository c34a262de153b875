"""Clipping in a step of the script's own: whoever measures gradients measures those of the whole batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_MEASURING = (
    torch._foreach_norm, torch.linalg.vector_norm, torch.norm, torch.Tensor.norm, torch._foreach_clamp_min_, torch.Tensor.clamp_,
)  # fmt: skip


class GradientSums(TorchFunctionMode):
    """Inside, before `clip_grad_norm_`, `clip_grad_value_` or a norm looks at gradients, they are made those of the whole batch.

    An update by them after that is the same: the slices, each by its share, add up to what all of them hold.

    Args:
        params: whose gradients.
        sum_over_slices: stops the slice until the gradients of the parameters of these numbers are the sums.
    """

    def __init__(self, params: Sequence[nn.Parameter], sum_over_slices: Callable[[list[int]], None]) -> None:
        super().__init__()
        self._params, self._sum = params, sum_over_slices
        self._summed: dict[int, tuple[int, int]] = {}  # by number: which gradient, and how often it had been changed

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not any(func is known for known in _MEASURING) or not self._are_gradients(args[0] if args else None):
            return func(*args, **kwargs)
        stale = [number for number, state in self._states().items() if self._summed.get(number) != state]
        if stale:
            self._sum(stale)
        result = func(*args, **kwargs)
        self._summed = self._states()
        return result

    def _are_gradients(self, given: Any) -> bool:
        tensors = given if isinstance(given, list | tuple) else [given]
        own = {param.grad.data_ptr() for param in self._params if param.grad is not None}
        return bool(own) and any(isinstance(tensor, Tensor) and tensor.data_ptr() in own for tensor in tensors)

    def _states(self) -> dict[int, tuple[int, int]]:
        return {n: (p.grad.data_ptr(), p.grad._version) for n, p in enumerate(self._params) if p.grad is not None}
