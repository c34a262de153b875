"""Numbers of the host as tensors on a device, without making the host wait."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def on_device(numbers: Any, device: torch.device | None, dtype: torch.dtype | None = None) -> Tensor:
    """`numbers` (a number, lists, an array or a tensor) as `torch.as_tensor` gives them on `device`.

    To CUDA a copy from pageable memory waits for all that the device has been given to do. So single numbers are filled in by a kernel, and
    others leave from pinned memory.
    """
    if device is None or device.type == "cpu" or (isinstance(numbers, Tensor) and numbers.device == device):
        return torch.as_tensor(numbers, dtype=dtype, device=device)
    if isinstance(numbers, bool | int | float) and not isinstance(numbers, np.generic):
        return torch.full((), numbers, dtype=dtype or torch.as_tensor(numbers).dtype, device=device)
    there = torch.as_tensor(numbers, dtype=dtype)
    if device.type == "cuda" and there.device.type == "cpu":
        there = there.pin_memory()
    return there.to(device, non_blocking=device.type == "cuda")
