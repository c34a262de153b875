"""A dataset in two parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, Subset

from disttrain.data.loaded import Rows
from disttrain.seeds import next_key


def split_dataset(
    dataset: Any,
    left_size: float | int | None = None,
    right_size: float | int | None = None,
    shuffle: bool = False,
    seed: int | None = None,
    preferred_backend: str | None = None,
) -> tuple[Subset[Any], Subset[Any]]:
    """(left, right): two map-style datasets of the samples, which `fit` takes.

    Args:
        dataset: an array, a list or tuple of arrays of one length, or a torch map-style `Dataset`.
        left_size, right_size: how many samples, or as a float which share of them; None: the others.
        shuffle: draw the samples of each at random; else the left ones are the first.
        seed: of that draw; None takes one from the process seed.
        preferred_backend: None or "torch".

    Raises:
        TypeError: something that is no dataset.
        ValueError: sizes that leave a part empty, or do not fit.

    Example:
        >>> left, right = split_dataset(np.arange(10), left_size=0.8)
        >>> len(left), right[0]
        (8, (tensor(8),))
    """
    if preferred_backend not in (None, "torch"):
        raise ValueError(f"split_dataset(preferred_backend={preferred_backend!r}): expected None or 'torch'.")
    if isinstance(dataset, np.ndarray | Tensor):
        dataset = Rows([dataset])
    elif isinstance(dataset, list | tuple) and dataset and all(isinstance(part, np.ndarray | Tensor) for part in dataset):
        dataset = Rows(dataset)
    elif isinstance(dataset, IterableDataset) or not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise TypeError(
            f"split_dataset: got a {type(dataset).__name__}.\n"
            "  expected  an array, a list or tuple of arrays, or a map-style torch Dataset (__len__ and __getitem__)"
        )
    elif isinstance(dataset, list | tuple | dict):
        raise TypeError(f"split_dataset: got a {type(dataset).__name__} of other things than arrays: expected arrays of one length.")
    left, right = _sizes(left_size, right_size, len(dataset))
    order = torch.arange(len(dataset))
    if shuffle:
        seed = next_key("split_dataset") if seed is None else seed
        order = torch.randperm(left + right, generator=torch.Generator().manual_seed(seed))
    numbers = order.tolist()
    whole: Dataset[Any] = dataset
    return Subset(whole, numbers[:left]), Subset(whole, numbers[left : left + right])


def _sizes(left: Any, right: Any, total: int) -> tuple[int, int]:
    if left is None and right is None:
        raise ValueError("split_dataset: expected left_size or right_size, or both.")
    found = []
    for name, size in (("left_size", left), ("right_size", right)):
        if size is not None and (isinstance(size, bool) or not isinstance(size, int | float)):
            raise TypeError(f"split_dataset({name}={size!r}): expected a whole number, a share as a float, or None.")
        bound = 1 if isinstance(size, float) else total
        if size is not None and not 0 < size < bound:
            raise ValueError(f"split_dataset({name}={size!r}): expected a whole number above 0 and below {total}, or a float below 1.")
        found.append(round(size * total) if isinstance(size, float) else size)
    if isinstance(left, float) and isinstance(right, float) and left + right > 1:
        raise ValueError(f"split_dataset(left_size={left}, right_size={right}): the shares sum to more than 1.")
    one, two = found
    first: int = one if one is not None else total - (two or 0)
    second: int = two if two is not None else total - first
    if first + second > total:
        raise ValueError(f"split_dataset(left_size={left}, right_size={right}): {first} + {second} are more than {total} samples.")
    if not first or not second:
        raise ValueError(f"split_dataset(left_size={left}, right_size={right}): of {total} samples, one part would be empty.")
    return first, second
