"""Watching who writes into which parameters while a step is tried out, also by ways that leave values as they were."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode


class Writes(TorchDispatchMode):
    """Inside, notes every parameter that an operation writes into, by whatever alias (`p.data`, `p.detach()`), and keeps its values.

    Args:
        params: those that are watched.

    Attributes:
        before: by place in `params`, the values of those that were written into, from before the first write.
        replaced: the places of those that were given other memory, known after `undo`.
    """

    def __init__(self, params: Sequence[nn.Parameter]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._params = list(params)
        self._aliases = [param.data for param in params]
        ranges = sorted((start, start + size, n) for n, alias in enumerate(self._aliases) for start, size in [_range(alias)] if size)
        self._starts, self._ranges = [start for start, _, _ in ranges], ranges
        self.before: dict[int, Tensor] = {}
        self.replaced: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for place, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                given = args[place] if place < len(args) else kwargs.get(argument.name)
                for tensor in given if isinstance(given, list | tuple) else (given,):
                    if isinstance(tensor, Tensor):
                        self._note(tensor)
        return func(*args, **kwargs)

    def _note(self, tensor: Tensor) -> None:
        try:
            start, size = _range(tensor)
        except RuntimeError:  # a tensor without memory of its own, such as those of torch.func
            return
        place = bisect_right(self._starts, start + size - 1) - 1 if size else -1
        while place >= 0:
            first, last, number = self._ranges[place]
            if last <= start:
                return  # ranges of parameters do not overlap
            if first < start + size and number not in self.before:
                self.before[number] = self._aliases[number].clone()
            place -= 1

    def undo(self) -> list[int]:
        """Put everything back; the places of all that were changed, or given other memory (`p.data = ...`)."""
        pairs = enumerate(zip(self._params, self._aliases, strict=True))
        self.replaced = [number for number, (param, alias) in pairs if param.data_ptr() != alias.data_ptr()]
        with torch.no_grad():
            for number in self.replaced:
                self._params[number].data = self._aliases[number]
            for number, values in self.before.items():
                self._aliases[number].copy_(values)
        return sorted({*self.before, *self.replaced})


def _range(tensor: Tensor) -> tuple[int, int]:
    """Where a tensor begins in memory, and how many bytes it reaches over."""
    if not tensor.numel() or tensor.layout != torch.strided:
        return 0, 0
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)) + 1
    return tensor.data_ptr(), reach * tensor.element_size()
