"""Clipping in a step of the script's own: whoever measures gradients measures those of the whole batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# What looks at a gradient without asking for its numbers, or leaves it what it is for every slice alike.
_HARMLESS = frozenset(
    [
        "__get__",
        "__set__",
        "__delete__",
        "__len__",
        "__hash__",
        "_foreach_zero_",
        "backward",
        "data_ptr",
        "detach",
        "detach_",
        "dim",
        "element_size",
        "get_device",
        "is_complex",
        "is_contiguous",
        "is_floating_point",
        "nelement",
        "numel",
        "register_hook",
        "requires_grad_",
        "retain_grad",
        "size",
        "storage_offset",
        "stride",
        "type",
        "untyped_storage",
        "view",
        "view_as",
        "zero_",
    ]
)


class GradientSums(TorchFunctionMode):
    """Inside, before anything computes with gradients (`clip_grad_norm_`, a norm by hand), they are made those of the whole batch.

    An update by them after that is the same: the slices, each by its share, add up to what all of them hold.

    Args:
        params: whose gradients.
        sum_over_slices: stops the slice until the gradients of the parameters of these numbers are the sums.
    """

    def __init__(self, params: Sequence[nn.Parameter], sum_over_slices: Callable[[list[int]], None]) -> None:
        super().__init__()
        self._params, self._sum = params, sum_over_slices
        self._summed: dict[int, tuple[int, int]] = {}  # by number: which gradient, and how often it had been changed
        self._suspended = False

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Inside, it is not the step that computes."""
        before, self._suspended = self._suspended, True
        try:
            yield
        finally:
            self._suspended = before

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._suspended or getattr(func, "__name__", "") in _HARMLESS:
            return func(*args, **kwargs)
        touched = self._touched(args)
        if not touched:
            return func(*args, **kwargs)
        states = self._states()
        if any(self._summed.get(number) != states[number] for number in touched):
            with self.suspended():
                self._sum([number for number, state in states.items() if self._summed.get(number) != state])
        result = func(*args, **kwargs)
        self._summed = self._states()
        return result

    def _touched(self, args: Any) -> list[int]:
        """The numbers of the parameters whose gradients are among the arguments."""
        own = {param.grad.data_ptr(): number for number, param in enumerate(self._params) if param.grad is not None}
        if not own:
            return []
        tensors = [tensor for one in args for tensor in (one if isinstance(one, list | tuple) else (one,)) if isinstance(tensor, Tensor)]
        return [own[place] for tensor in tensors if (place := tensor.data_ptr()) in own]

    def _states(self) -> dict[int, tuple[int, int]]:
        return {n: (p.grad.data_ptr(), p.grad._version) for n, p in enumerate(self._params) if p.grad is not None}
