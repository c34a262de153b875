"""What `adapt` is given: an array, a tensor, or batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor


def batches(data: Any, owner: str) -> Iterator[Tensor]:
    """The inputs in `data`, batch by batch: an array or tensor is one batch, a batch of several things is (x, y, ...).

    Args:
        data: an array, a tensor, a dataset that gives a batch for each number below its length, or an iterable of batches.

    Raises:
        ValueError: something else, or no batch at all.
    """
    if isinstance(data, Tensor | np.ndarray):
        yield _inputs(data, owner)
        return
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not hasattr(data, "__iter__"):  # a PyDataset
        data = map(data.__getitem__, range(len(data)))
    elif not hasattr(data, "__iter__") or isinstance(data, dict | str):
        raise ValueError(f"{owner}.adapt: got a {type(data).__name__}, expected an array, a tensor or an iterable of batches.")
    empty = True
    for batch in data:
        empty = False
        yield _inputs(batch, owner)
    if empty:
        raise ValueError(f"{owner}.adapt: got no batch at all.")


def _inputs(batch: Any, owner: str) -> Tensor:
    if isinstance(batch, tuple | list) and batch:  # DataLoader gives lists
        batch = batch[0]
    if isinstance(batch, np.ndarray):
        batch = torch.from_numpy(np.ascontiguousarray(batch))
    if not isinstance(batch, Tensor) or batch.ndim == 0:
        raise ValueError(f"{owner}.adapt: got a batch of type {type(batch).__name__}, expected arrays or tensors with a batch axis.")
    return batch.detach()
