"""A dataset in batches, as the functions of `dt.utils` give it: to be iterated over, mapped, and handed to `fit`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from disttrain.text import holds_text

# Of tf.data: what to do instead.
_INSTEAD = {
    "batch": "batch_size= of the function that made them",
    "concatenate": "torch.utils.data.ConcatDataset([one.unbatch(), two.unbatch()])",
    "filter": "torch.utils.data.Subset(batches.unbatch(), numbers)",
    "shuffle": "shuffle=True of the function that made them, or fit(shuffle=True)",
    "skip": "utils.split_dataset(batches.unbatch(), left_size)",
    "zip": "a torch Dataset whose __getitem__ gives both",
}


class Batches(DataLoader[Any]):
    """Batches of the samples of a map-style dataset: a `DataLoader` with the methods that scripts call on such datasets.

    `fit` takes it as any loader: each epoch's order is drawn from the run's seed where `shuffle` is True. Iterated over, the orders
    come from `seed`. Batches are tensors, of text arrays of strings.

    Args:
        dataset: `len(dataset)` and `dataset[i]`, a sample.
        batch_size: samples in a batch; the last may be smaller.
        shuffle: another order each time.
        seed: of the orders of iterations.
        functions: what `map` was given, in turn.
        class_names, file_paths: as the function that made it found them.
    """

    def __init__(
        self, dataset: Dataset[Any], batch_size: int, shuffle: bool = False, seed: int = 0, functions: Sequence[Callable[..., Any]] = (),
        class_names: list[str] | None = None, file_paths: list[str] | None = None,
    ) -> None:  # fmt: skip
        generator = torch.Generator().manual_seed(seed)
        super().__init__(dataset, batch_size, shuffle=shuffle, collate_fn=Collate(tuple(functions)), generator=generator)
        self.class_names, self.file_paths = class_names, file_paths
        self._made_of = (batch_size, shuffle, seed, tuple(functions))

    def map(self, function: Callable[..., Any], num_parallel_calls: Any = None, **_: Any) -> Batches:
        """The same with each batch put through `function(x, y)`. In a step it is called on the slices of a batch, not on the whole."""
        batch_size, shuffle, seed, functions = self._made_of
        return Batches(self.dataset, batch_size, shuffle, seed, (*functions, function), self.class_names, self.file_paths)

    def prefetch(self, buffer_size: Any = None) -> Batches:
        """The same: `fit` fetches ahead by itself."""
        return self

    def cache(self, filename: str = "") -> Batches:
        """The same: files are read when they are needed, and stay in the memory of the operating system."""
        return self

    def repeat(self, count: int | None = None) -> Batches:
        """The same, for as long as it is asked for: with `steps_per_epoch`, `fit` goes on into the next pass."""
        if count is not None:
            raise ValueError(f"repeat({count}) is not supported.\n  try  fit(epochs=...), or repeat() with steps_per_epoch")
        return self

    def __getattr__(self, name: str) -> Any:
        if name in _INSTEAD:
            raise AttributeError(f"{name} is a method of tf.data, not of these batches.\n  try  {_INSTEAD[name]}")
        raise AttributeError(f"{type(self).__name__} object has no attribute {name!r}")

    def take(self, count: int) -> Iterator[Any]:
        """The first `count` batches, to look at."""
        return itertools.islice(iter(self), count if count >= 0 else None)

    def unbatch(self) -> Dataset[Any]:
        """The samples."""
        return self.dataset

    def as_numpy_iterator(self) -> Iterator[Any]:
        """The batches as NumPy arrays."""
        for batch in self:
            yield tuple(_numpy(part) for part in batch) if isinstance(batch, tuple | list) else _numpy(batch)


class Collate:
    """Samples as a batch, put through functions; a class, since it travels to workers."""

    def __init__(self, functions: tuple[Callable[..., Any], ...] = ()) -> None:
        self.functions = functions

    def __call__(self, samples: list[Any]) -> Any:
        first = samples[0]
        several = isinstance(first, tuple)
        parts = [_stacked(column) for column in zip(*samples, strict=True)] if several else [_stacked(samples)]
        batch: Any = tuple(parts) if several else parts[0]
        for function in self.functions:
            batch = function(*batch) if isinstance(batch, tuple) else function(batch)
        return batch


class Rows(Dataset[Any]):
    """The rows of arrays of one length, each as a tuple of them.

    Raises:
        ValueError: arrays of different lengths, or none.
    """

    def __init__(self, arrays: Sequence[Any]) -> None:
        self.arrays = [array if isinstance(array, Tensor) else np.asarray(array) for array in arrays]
        if len({len(array) for array in self.arrays}) != 1:
            raise ValueError(f"arrays of lengths {[len(array) for array in self.arrays]}: expected one or more of the same length.")

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, number: int) -> tuple[Any, ...]:
        return tuple(torch.as_tensor(array[number]) if not holds_text(array[:1]) else array[number] for array in self.arrays)


def _stacked(items: Sequence[Any]) -> Any:
    return np.array(items) if isinstance(items[0], str) else default_collate(list(items))


def _numpy(value: Any) -> Any:
    return value.numpy() if isinstance(value, Tensor) else value
