"""Masks for kernels that know none: steps that count are moved to the front of each row, and their outputs back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class Compaction:
    """A mask (batch, time), True where a step counts, as a permutation of each row.

    A step that does not count changes no state, so a row gives the same without such steps. What comes after the steps that count is
    computed too, and not looked at. No size depends on the values of the mask: nothing waits for a GPU, whatever the padding.
    """

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask
        self.so_far = mask.cumsum(1)  # steps that count, up to and with this one
        self.starts = torch.arange(mask.shape[0], device=mask.device) * mask.shape[1]

    def front(self, sequences: Tensor) -> Tensor:
        """`sequences` (batch, time, ...) with the steps that count first, in their order."""
        order = torch.argsort((~self.mask).to(torch.uint8), dim=1, stable=True)
        return self._rows(sequences, order)

    def back(self, outputs: Tensor, zero_output_for_mask: bool) -> Tensor:
        """`outputs` of `front` in their places; between them zeros, or what was there last: zeros before the first."""
        shown = self.mask if zero_output_for_mask else self.so_far > 0
        placed = self._rows(outputs, (self.so_far - 1).clamp(min=0))
        return placed.masked_fill(~_along(shown, placed), 0.0)

    def last(self, outputs: Tensor, initial: Tensor) -> Tensor:
        """Of `outputs` of `front`, those of the last step that counts; `initial` in rows without any."""
        count = self.so_far[:, -1]
        chosen = self._rows(outputs, (count - 1).clamp(min=0).unsqueeze(1)).squeeze(1)
        return torch.where(_along(count > 0, chosen), chosen, initial)

    def _rows(self, sequences: Tensor, steps: Tensor) -> Tensor:
        """Steps (batch, n) of `sequences` (batch, time, ...)."""
        places = (steps + self.starts.unsqueeze(1)).reshape(-1)
        chosen = F.embedding(places, sequences.reshape(self.mask.numel(), -1))  # its gradient has the same bits every time, on a GPU too
        return chosen.view(*steps.shape, *sequences.shape[2:])


def _along(mask: Tensor, like: Tensor) -> Tensor:
    """`mask` with as many axes as `like`."""
    return mask.reshape(*mask.shape, *(1 for _ in like.shape[mask.ndim :]))
