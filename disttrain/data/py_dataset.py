"""Datasets that give whole batches by number, as Keras's PyDataset does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from disttrain.data.generators import seed_generators
from disttrain.data.own_generators import generators_of, put_back, seed_own, states_of
from disttrain.data.plan import BatchPlan, slice_of
from disttrain.data.sources import Batch, as_batch
from disttrain.data.structure import flatten, rows_in, take_rows
from disttrain.errors import DataError
from disttrain.seeds import fold_in


class PyDataset:
    """Base class of a dataset of batches: `dataset[i]` gives batch number `i` as x, (x, y) or (x, y, sample_weight).

    Define `__getitem__(index)`, and `__len__` or `num_batches`. A batch is a function of its number, so that any step can be redone
    anywhere: `fit(shuffle=True)` draws the order of the batches anew for each epoch, and what `__getitem__` draws from Python's, NumPy's
    or torch's generators repeats. All batches are of one size, the last may be smaller. One that defines `on_epoch_end` or
    `on_epoch_begin`, or has no end (`num_batches` is None), is read batch after batch in the script's process instead.

    Args:
        workers, use_multiprocessing, max_queue_size: as in Keras; batches are made where they are needed, so they change nothing.
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        self.workers, self.use_multiprocessing, self.max_queue_size = workers, use_multiprocessing, max_queue_size

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__(self, index), which gives a batch.")

    @property
    def num_batches(self) -> int | None:
        """How many batches there are."""
        if type(self).__len__ is PyDataset.__len__:
            raise NotImplementedError(f"{type(self).__name__} must define __len__(self) or num_batches: the number of batches.")
        return len(self)

    def __len__(self) -> int:
        return self.num_batches or 0

    def on_epoch_begin(self) -> None:
        """Before an epoch."""

    def on_epoch_end(self) -> None:
        """After an epoch."""


_BASES = ("PyDataset", "Sequence")  # ours, Keras's, and that of Keras 2


class BatchesSource:
    """The rows of the batches of a PyDataset, numbered through: row r of batch b is sample `b * batch_size + r`."""

    draws = True

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.batches = _count(dataset)
        self._own: list[Any] | None = None
        first = self._asked(0, 0)
        self.batch_size = _rows(first)
        last = _rows(self._asked(self.batches - 1, 0)) if self.batches > 1 else self.batch_size
        if not same_batch(first, self._asked(0, 0)):
            raise DataError(
                f"{type(dataset).__name__}[0] is another batch when it is asked for again.\n"
                "  expected  dataset[i] to be a function of i, of the global generators of Python, NumPy and torch and of those that the\n"
                "            dataset holds, which are seeded for each step, so that any step can be redone anywhere\n"
                "  try       a generator made in __getitem__ from the index; no counter or clock"
            )
        if last > self.batch_size:
            raise DataError(f"{type(dataset).__name__}: its last batch holds {last} samples, more than the {self.batch_size} of the first.")
        self._length = (self.batches - 1) * self.batch_size + last
        self._last: tuple[tuple[int, int], Batch] | None = None  # the slices of a batch are cut from it one after the other

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None, "_own": None}

    def __len__(self) -> int:
        return self._length

    def fetch(self, indices: NDArray[np.int64], key: int) -> Batch:
        """The samples of those numbers, which belong to one batch."""
        number = int(indices[0]) // self.batch_size
        if self._last is None or self._last[0] != (number, key):
            self._last = (number, key), self._made(number, key)
        batch = self._last[1]
        if len(indices) == _rows(batch):
            self._last = None  # nobody asks for the rest of it
        rows = torch.from_numpy(indices - number * self.batch_size)
        x, y, weight = (take_rows(part, rows) for part in batch)
        return x, y, weight

    def _made(self, number: int, key: int) -> Batch:
        batch = self._asked(number, key)
        expected = min(self.batch_size, self._length - number * self.batch_size)
        if _rows(batch) != expected:
            raise DataError(
                f"{type(self.dataset).__name__}[{number}] holds {_rows(batch)} samples, expected {expected}.\n"
                "  expected  batches of one size; only the last may be smaller"
            )
        return batch

    def _asked(self, number: int, key: int) -> Batch:
        """The batch of that number, whose draws are functions of the key."""
        known = self._own = generators_of(self.dataset) if self._own is None else self._own
        before = states_of(known)
        seed_generators(key)
        seed_own(known, key)
        try:
            return as_batch(self.dataset[number], counts_weigh=True)
        finally:
            put_back(known, before)  # the script may go on with them


@dataclass(frozen=True)
class WholeBatchPlan(BatchPlan):
    """A plan whose batches are those of the data, each whole; shuffled, they come in another order, the smaller last one among them."""

    def order(self, data_pass: int) -> NDArray[np.int64]:
        """The order of the batches in pass number `data_pass`."""
        number = data_pass if self.shuffle else 0
        if number not in self._orders:
            self._orders.clear()
            batches = self.steps_per_pass
            if self.shuffle:
                key = fold_in(self.seed, "shuffle", number)
                self._orders[number] = np.random.Generator(np.random.Philox(key=key)).permutation(batches)
            else:
                self._orders[number] = np.arange(batches)
        return self._orders[number]

    def _batch(self, epoch: int, step: int) -> tuple[int, int]:
        """(first sample, samples) of the batch of a step."""
        data_pass, in_pass = self.place(epoch, step)
        first = int(self.order(data_pass)[in_pass]) * self.batch_size
        return first, min(self.batch_size, self.samples - first)

    def batch_count(self, epoch: int, step: int) -> int:
        return self._batch(epoch, step)[1]

    def run(self, epoch: int, step: int, virtual_rank: int) -> tuple[int, int] | None:
        return None

    def indices(self, epoch: int, step: int, virtual_rank: int | None = None) -> NDArray[np.int64]:
        first, count = self._batch(epoch, step)
        start, stop = (0, count) if virtual_rank is None else slice_of(count, self.virtual_workers, virtual_rank)
        return np.arange(first + start, first + stop)

    def key(self, epoch: int, step: int, virtual_rank: int = 0) -> int:
        """That of the batch, which is made as a whole: the same for each of its slices."""
        data_pass, in_pass = self.place(epoch, step)
        return self._key(data_pass) + in_pass


def is_py_dataset(x: Any) -> bool:
    """A PyDataset of ours, or one of Keras's."""
    return any(parent.__name__ in _BASES and hasattr(parent, "on_epoch_end") for parent in type(x).__mro__)


def _count(dataset: Any) -> int:
    count = dataset.num_batches if hasattr(dataset, "num_batches") else len(dataset)
    if not isinstance(count, int | np.integer) or count < 1:
        raise DataError(f"{type(dataset).__name__} says it has {count!r} batches: expected a number of 1 or more.")
    return int(count)


def same_batch(one: Batch, other: Batch) -> bool:
    """Have they the same values?"""
    pairs = zip(_tensors(one), _tensors(other), strict=True)
    return all(torch.equal(a.nan_to_num(), b.nan_to_num()) if isinstance(a, Tensor) and isinstance(b, Tensor) else a is b for a, b in pairs)


def _tensors(batch: Batch) -> list[Any]:
    return [leaf.data if isinstance(leaf, PackedSequence) else leaf for leaf in flatten(list(batch))]


def _rows(batch: Batch) -> int:
    lengths = {rows_in(leaf) for leaf in flatten(list(batch)) if isinstance(leaf, PackedSequence) or leaf.ndim}
    if len(lengths) != 1:
        raise DataError(f"a batch holds arrays of unequal length: {sorted(lengths)}.")
    return lengths.pop()
