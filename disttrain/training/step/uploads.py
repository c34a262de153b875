"""Samples on their way to the device: over pinned memory, so that the host need not wait until the device has done what was asked before.

A copy out of ordinary memory waits for its turn in the stream, which for the second slice of a step is the end of the first one's backward
pass. torch keeps pinned memory for the next time, and gives it out again once the copy out of it is done. Large copies go on a stream of
their own, beside what the device computes: what is asked of it next waits for them, and nothing else does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache

import torch
from torch import Tensor

_STAGED_BYTES = 64 << 10  # up to so many the driver takes aside itself, without waiting


@contextmanager
def beside(device: torch.device) -> Iterator[None]:
    """Inside, copies are asked for on another stream; what follows the block waits for them."""
    stream = _stream(device)
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(device).wait_stream(stream)


def uploaded(
    tensor: Tensor, device: torch.device, pin: Callable[[Tensor], Tensor] = Tensor.pin_memory,
    apart: Callable[[torch.device], AbstractContextManager[None]] = beside,
) -> Tensor:  # fmt: skip
    """`tensor` on the device, with the same strides; itself where it lies there."""
    if tensor.device == device or device.type == "cpu":
        return tensor.to(device)
    if device.type != "cuda" or tensor.device.type != "cpu" or tensor.nbytes <= _STAGED_BYTES:
        return tensor.to(device, non_blocking=True)
    if not tensor.is_pinned():
        tensor = pin(tensor)
    with apart(device):
        there = tensor.to(device, non_blocking=True)
    there.record_stream(torch.cuda.current_stream(device))  # its memory is the other stream's, and not to be given out while this one reads
    return there


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
