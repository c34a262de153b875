"""Samples on their way to the device: over pinned memory, so that the host need not wait until the device has done what was asked before.

A copy out of ordinary memory waits for its turn in the stream, which for the second slice of a step is the end of the first one's backward
pass. torch keeps pinned memory for the next time, and gives it out again once the copy out of it is done.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_STAGED_BYTES = 64 << 10  # up to so many the driver takes aside itself, without waiting


def uploaded(tensor: Tensor, device: torch.device, pin: Callable[[Tensor], Tensor] = Tensor.pin_memory) -> Tensor:
    """`tensor` on the device, with the same strides; itself where it lies there."""
    if tensor.device == device or device.type == "cpu":
        return tensor.to(device)
    if device.type == "cuda" and tensor.device.type == "cpu" and tensor.nbytes > _STAGED_BYTES and not tensor.is_pinned():
        tensor = pin(tensor)
    return tensor.to(device, non_blocking=True)
