"""What a step of the script's own changes itself: target networks, averages by hand, clamped weights; and learning rates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from disttrain.training.step.model_state import ModelState
from disttrain.training.step.rates import Rates

_AS_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class MovedWeights:
    """Brings the changes of all slices together, at each update and at the end: the old value plus the mean change over the samples.

    Changes are taken in float64, so one that all slices make alike is exactly that. Everything else must stay as optimizers leave it.

    Args:
        model: whose parameters.
        state: how they lie.
        moved: those that the step writes into.
        rates: the learning rates, which it may set.
    """

    def __init__(self, model: nn.Module, state: ModelState, moved: Sequence[nn.Parameter], rates: Rates) -> None:
        self.params, self.rates = list(moved), rates
        own = {id(param) for param in self.params}
        trained = {id(param) for param in state.params}
        frozen = [param for param in model.parameters() if id(param) not in trained and id(param) not in own]
        flat = not own & trained
        self._still: list[Tensor] = [*(state.flat_params if flat else [p for p in state.params if id(p) not in own]), *frozen]

    @property
    def size(self) -> int:
        """How many numbers are sent of them."""
        return sum(param.numel() for param in self.params) + 2 * len(self.rates)

    @property
    def any(self) -> bool:
        """Does the step change something itself?"""
        return bool(self.params) or len(self.rates) > 0

    def values(self) -> list[Tensor]:
        """Copies of them; the rates are the last."""
        return [*(param.detach().clone() for param in self.params), torch.tensor(self.rates.values(), dtype=torch.float64)]

    def set(self, values: Sequence[Tensor]) -> None:
        """Give them these values."""
        with torch.no_grad():
            for param, value in zip(self.params, values, strict=False):
                param.copy_(value)
        self.set_rates(values)

    def set_rates(self, values: Sequence[Tensor]) -> None:
        """Give the rates alone theirs."""
        self.rates.set(values[-1].tolist())

    def write(self, target: Tensor, values: Sequence[Tensor], base: Sequence[Tensor], samples: int, *, first: bool) -> None:
        """A slice's changes, from `base` to `values`, into `target`, a vector of float64; is it the first slice of the batch?"""
        at = 0
        for value, old in zip(values[:-1], base[:-1], strict=True):
            change = (value.double() - old.double()) * samples
            target[at : at + value.numel()] = change.reshape(-1)
            at += value.numel()
        self.rates.write(target[at:], values[-1].tolist(), first=first)

    def read(self, source: Tensor, base: Sequence[Tensor], samples: int, slices: int) -> None:
        """They become `base` plus the mean of what the slices wrote."""
        at = 0
        with torch.no_grad():
            for param, old in zip(self.params, base, strict=False):
                change = source[at : at + param.numel()].view(old.shape) / samples
                param.copy_(old.double() + change)
                at += param.numel()
        self.rates.read(source[at:], slices)

    def still(self) -> Tensor:
        """What stands for the values of all other parameters: the sums of their bits."""
        sums = [torch.zeros((), dtype=torch.int64, device=tensor.device) + _sum_of_bits(tensor) for tensor in self._still]
        return torch.stack(sums) if sums else torch.zeros(0)


def _sum_of_bits(tensor: Tensor) -> Tensor:
    values = tensor.detach()
    if values.is_complex():
        values = torch.view_as_real(values)
    return values.view(_AS_INTEGERS[values.element_size()]).sum(dtype=torch.int64)
