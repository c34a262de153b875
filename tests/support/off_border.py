"""Arrays that begin where torch would never let one begin."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from disttrain.alignment import BORDER_BYTES


def off_border(values: np.ndarray, by: int = 16) -> np.ndarray:
    """A copy of `values` that begins `by` bytes behind a border."""
    room = np.empty(values.nbytes + 2 * BORDER_BYTES, np.uint8)
    start = -room.ctypes.data % BORDER_BYTES + by
    copy = room[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def push_off_borders(model: nn.Module) -> None:
    """Let every weight begin behind a border; values stay."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = torch.from_numpy(off_border(tensor.detach().numpy()))


def begins_on_border(tensor: torch.Tensor) -> bool:
    return tensor.data_ptr() % BORDER_BYTES == 0
