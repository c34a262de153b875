"""Many tensors in few: parameters, gradients, buffers and optimizer slots laid side by side, one flat tensor for each dtype.

One flat tensor makes the update one kernel, a transfer one message and a snapshot one copy. Each tensor begins on a border, as it would
alone, and has room for a whole number of vector rounds, so kernels take the same path and give the same bits (`disttrain/alignment.py`).
Tensors lie in reverse order of the model, which is the order in which the backward pass completes their gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from disttrain.alignment import border_of, in_rounds

_HALVES = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, slots=True)
class Segment:
    """Where a tensor lies: `group` numbers the flat tensor, `offset` and `numel` count elements."""

    group: int
    offset: int
    numel: int
    shape: torch.Size


class FlatSpace:
    """The arrangement of `tensors` in flat ones on `device`, a CPU unless told; holds no values itself.

    `parts` gives (dtype, elements) of each flat tensor; `sums` the same for sums of such tensors, which those in half precision have in
    float32: rounded after each addition they would lose what small ones hold.
    """

    def __init__(self, tensors: Sequence[Tensor], device: torch.device | None = None) -> None:
        self._round_bytes = border_of(device)
        dtypes: list[torch.dtype] = []
        sizes: list[int] = []
        segments: list[Segment | None] = [None] * len(tensors)
        for index in reversed(range(len(tensors))):
            tensor = tensors[index]
            if tensor.dtype not in dtypes:
                dtypes.append(tensor.dtype)
                sizes.append(0)
            group = dtypes.index(tensor.dtype)
            segments[index] = Segment(group, sizes[group], tensor.numel(), tensor.shape)
            sizes[group] += in_rounds(tensor.numel(), tensor.dtype.itemsize, self._round_bytes)
        self.segments: list[Segment] = [segment for segment in segments if segment is not None]
        self.parts: list[tuple[torch.dtype, int]] = list(zip(dtypes, sizes, strict=True))
        self.sums = [(torch.float32 if dtype in _HALVES else dtype, size) for dtype, size in self.parts]

    def zeros(self, device: torch.device) -> list[Tensor]:
        """Flat tensors of zeros, in the arrangement of this space."""
        return [torch.zeros(size, dtype=dtype, device=device) for dtype, size in self.parts]

    def views(self, flats: Sequence[Tensor]) -> list[Tensor]:
        """Each tensor as a view of `flats`, in the order of the tensors, with its own shape."""
        return [flats[s.group][s.offset : s.offset + s.numel].view(s.shape) for s in self.segments]

    def rooms(self, flats: Sequence[Tensor]) -> list[Tensor]:
        """Each tensor as a view of one axis that goes on, over zeros, to where the next one begins."""
        found = []
        for s in self.segments:
            flat = flats[s.group]
            found.append(flat[s.offset : s.offset + in_rounds(s.numel, flat.dtype.itemsize, self._round_bytes)])
        return found

    def gather(self, tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
        """Move the values of `tensors` into flat ones and make each tensor a view of them; returns the flat tensors."""
        flats = self.zeros(device)
        for tensor, view in zip(tensors, self.views(flats), strict=True):
            view.copy_(tensor.detach())
            tensor.data = view
        return flats
