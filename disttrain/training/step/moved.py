"""Parameters that a step of the script's own writes into itself: target networks, averages by hand, clamped weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from disttrain.training.step.model_state import ModelState

_AS_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class MovedWeights:
    """Brings the changes of all slices together, at each update and at the end: the old value plus the mean change over the samples.

    Changes are taken in float64, so one that all slices make alike is exactly that. Everything else must stay as optimizers leave it.

    Args:
        model: whose parameters.
        state: how they lie.
        moved: those that the step writes into.
    """

    def __init__(self, model: nn.Module, state: ModelState, moved: Sequence[nn.Parameter]) -> None:
        self.params = list(moved)
        own = {id(param) for param in self.params}
        trained = {id(param) for param in state.params}
        frozen = [param for param in model.parameters() if id(param) not in trained and id(param) not in own]
        flat = not own & trained
        self._still: list[Tensor] = [*(state.flat_params if flat else [p for p in state.params if id(p) not in own]), *frozen]

    @property
    def size(self) -> int:
        """How many numbers they hold."""
        return sum(param.numel() for param in self.params)

    def values(self) -> list[Tensor]:
        """Copies of them."""
        return [param.detach().clone() for param in self.params]

    def set(self, values: Sequence[Tensor]) -> None:
        """Give them these values."""
        with torch.no_grad():
            for param, value in zip(self.params, values, strict=True):
                param.copy_(value)

    def write(self, target: Tensor, values: Sequence[Tensor], base: Sequence[Tensor], samples: int) -> None:
        """A slice's changes, from `base` to `values`, into `target`, a vector of float64."""
        at = 0
        for value, old in zip(values, base, strict=True):
            change = (value.double() - old.double()) * samples
            target[at : at + value.numel()] = change.reshape(-1)
            at += value.numel()

    def read(self, source: Tensor, base: Sequence[Tensor], samples: int) -> None:
        """They become `base` plus the mean of what the slices wrote."""
        at = 0
        with torch.no_grad():
            for param, old in zip(self.params, base, strict=True):
                change = source[at : at + param.numel()].view(old.shape) / samples
                param.copy_(old.double() + change)
                at += param.numel()

    def still(self) -> Tensor:
        """What stands for the values of all other parameters: the sums of their bits."""
        sums = [torch.zeros((), dtype=torch.int64, device=tensor.device) + _sum_of_bits(tensor) for tensor in self._still]
        return torch.stack(sums) if sums else torch.zeros(0)


def _sum_of_bits(tensor: Tensor) -> Tensor:
    values = tensor.detach()
    if values.is_complex():
        values = torch.view_as_real(values)
    return values.view(_AS_INTEGERS[values.element_size()]).sum(dtype=torch.int64)
