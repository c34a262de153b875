"""Where tensors begin and end in memory. The last bits of what is computed of them depend on it, so it is the same everywhere.

- MKL chooses among its kernels by the alignment of the operands: a product of matrices that begin off a border may round otherwise.
  torch's own allocations begin on one; NumPy's, those of `bytearray` and views into the middle of a tensor need not.
- torch computes a tensor by vector instructions, two registers a round, and the numbers left at its end one by one; `pow`, `sigmoid` and
  their like have other last bits there, and so have the fused updates. A tensor whose size is a whole number of rounds has no such end.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BORDER_BYTES = 64  # where tensors begin: a cache line, the widest register (AVX-512), and what torch allocates by
ROUND_BYTES = (
    2 * BORDER_BYTES
)  # what they are padded to where their end must not matter; smaller registers go into it a whole number of times


DEVICE_BORDER_BYTES = 512  # where torch's allocator for CUDA begins everything: what lies beside others lies as it would alone


def border_of(device: torch.device | None) -> int:
    """Where tensors begin that lie side by side on `device`: so many bytes apart, or a multiple; what is between them is zero."""
    return ROUND_BYTES if device is None or device.type == "cpu" else DEVICE_BORDER_BYTES


def in_rounds(numel: int, itemsize: int, round_bytes: int = ROUND_BYTES) -> int:
    """`numel` elements, made more up to a whole number of rounds."""
    of_round = round_bytes // itemsize
    return -(-numel // of_round) * of_round


def on_border(tensor: Tensor) -> Tensor:
    """The same values, copied only if they begin off a border of the CPU's memory."""
    if torch.compiler.is_compiling() or tensor.data_ptr() % BORDER_BYTES == 0:  # a trace knows no addresses
        return tensor
    return tensor.clone() if tensor.device.type == "cpu" else tensor


def copy_of(array: NDArray[Any]) -> Tensor:
    """A tensor of the values of `array` in memory of its own, which begins on a border."""
    tensor = torch.empty(array.shape, dtype=_torch_dtype(array.dtype))
    tensor.numpy()[...] = array
    return tensor


@cache
def _torch_dtype(dtype: np.dtype[Any]) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype)).dtype
