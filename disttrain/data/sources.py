"""Sources of samples: arrays in memory and torch map-style datasets. A source is asked for sample numbers and answers with tensors."""

from __future__ import annotations

import random
import warnings
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from disttrain.data.structure import flatten, leaf_paths, map_structure
from disttrain.errors import DataError

Batch = tuple[Any, Any, Any]  # x, y, sample_weight; y and sample_weight may be None


class Source(Protocol):
    """Numbered samples."""

    def __len__(self) -> int: ...

    def fetch(self, indices: NDArray[np.int64], key: int) -> Batch:
        """The samples of those numbers, stacked along axis 0; `key` seeds whatever is random in fetching them."""


def as_array(value: Any) -> NDArray[Any]:
    """A NumPy array without copying where that is possible; float64 becomes float32, as in Keras."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    elif hasattr(value, "to_numpy"):  # pandas
        value = value.to_numpy()
    array = np.asarray(value)
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.dtype == object:
        raise DataError("an array of Python objects cannot be trained on: expected numbers of one shape (are the rows of unequal length?).")
    return np.ascontiguousarray(array) if array.ndim else array


class ArraySource:
    """Arrays (or dicts, lists and tuples of them) whose first axis counts the samples.

    Raises:
        DataError: arrays of unequal length, scalars, or none at all.
    """

    def __init__(self, x: Any, y: Any = None, sample_weight: Any = None) -> None:
        self.x, self.y, self.sample_weight = (map_structure(as_array, part) for part in (x, y, sample_weight))
        named = [
            pair for part, name in ((self.x, "x"), (self.y, "y"), (self.sample_weight, "sample_weight")) for pair in leaf_paths(part, name)
        ]
        if not flatten(self.x):
            raise DataError("x holds no array: expected an array, a tensor, or a dict, list or tuple of them.")
        for path, array in named:
            if array.ndim == 0:
                raise DataError(f"{path} is a single number of shape (): expected an array whose first axis counts the samples.")
        lengths = {path: len(array) for path, array in named}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{path} {length}" for path, length in lengths.items())
            raise DataError(f"arrays of unequal length: {found}.\n  expected  the same number of samples in each")
        self._length = next(iter(lengths.values()))
        self._tensors: tuple[Any, Any, Any] | None = None

    def __len__(self) -> int:
        return self._length

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tensors": None}

    def fetch(self, indices: NDArray[np.int64], key: int) -> Batch:
        if self._tensors is None:
            with warnings.catch_warnings():
                # Arrays mapped from the object store are read only; nothing here writes to them.
                warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
                x, y, weight = (map_structure(torch.from_numpy, part) for part in (self.x, self.y, self.sample_weight))
                self._tensors = (x, y, weight)
        rows = torch.from_numpy(indices)
        # index_select, not a slice: a fresh, aligned tensor gives the same kernels, and the same bits, wherever the samples lie
        x, y, weight = (map_structure(lambda t: t.index_select(0, rows), part) for part in self._tensors)
        return x, y, weight


class DatasetSource:
    """A torch map-style dataset: `len(dataset)` and `dataset[i]`, which gives x, (x, y) or (x, y, sample_weight).

    Random augmentation in `__getitem__` repeats exactly: Python's, NumPy's and torch's generators are seeded for each slice.
    """

    def __init__(self, dataset: Any) -> None:
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise DataError(f"{type(dataset).__name__} is no map-style dataset: expected __len__ and __getitem__.")
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def fetch(self, indices: NDArray[np.int64], key: int) -> Batch:
        from torch.utils.data import default_collate

        random.seed(key)
        np.random.seed(key % 2**32)
        torch.manual_seed(key)
        batch = default_collate([self.dataset[int(i)] for i in indices])
        batch = map_structure(lambda leaf: leaf.float() if isinstance(leaf, Tensor) and leaf.dtype == torch.float64 else leaf, batch)
        if isinstance(batch, list | tuple) and len(batch) in (2, 3):
            return batch[0], batch[1], batch[2] if len(batch) == 3 else None
        return (batch[0] if isinstance(batch, list | tuple) and len(batch) == 1 else batch), None, None


class RangeSource:
    """Samples [start, stop) of another source; nothing is copied."""

    def __init__(self, source: Source, start: int, stop: int) -> None:
        self.source, self.start, self.stop = source, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def fetch(self, indices: NDArray[np.int64], key: int) -> Batch:
        return self.source.fetch(indices + self.start, key)


def source_of(x: Any, y: Any = None, sample_weight: Any = None, *, argument: str = "x") -> Source:
    """The source for what a person passed to `fit`.

    Raises:
        DataError: data of a kind that cannot be numbered, or `y` beside a dataset that brings its own.
    """
    if isinstance(x, ArraySource | DatasetSource | RangeSource):
        return x
    if _is_dataset(x):
        if y is not None or sample_weight is not None:
            raise DataError(f"{argument} is a {type(x).__name__}, which brings its own targets: leave y and sample_weight out.")
        return DatasetSource(x)
    if hasattr(x, "__next__") or (hasattr(x, "__iter__") and not hasattr(x, "__len__")):
        raise DataError(
            f"{argument} is a {type(x).__name__}, which can be read only once and in order.\n"
            "  expected  arrays, tensors, or a map-style torch Dataset (__len__ and __getitem__), so that any step can be redone anywhere"
        )
    return ArraySource(x, y, sample_weight)


def _is_dataset(x: Any) -> bool:
    if isinstance(x, torch.utils.data.DataLoader):
        raise DataError(
            "x is a DataLoader, which can be read only in order.\n  try       fit(loader.dataset, batch_size=loader.batch_size)"
        )
    if isinstance(x, torch.utils.data.IterableDataset):
        raise DataError("x is an IterableDataset, which can be read only in order: expected a map-style Dataset.")
    return isinstance(x, torch.utils.data.Dataset) or (
        not isinstance(x, list | tuple | dict | np.ndarray | Tensor)
        and hasattr(x, "__getitem__")
        and hasattr(x, "__len__")
        and not hasattr(x, "dtype")
        and not hasattr(x, "to_numpy")
    )
