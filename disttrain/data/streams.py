"""What has an order of its own: it is begun, and then told batch by batch to its end. A pass may be begun again, unless it is `once`."""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import default_collate

from disttrain.data.generators import seed_generators
from disttrain.data.own_generators import generators_of, seed_own
from disttrain.data.own_state import OwnState
from disttrain.data.sources import Batch, Source, as_batch, loader_source
from disttrain.data.structure import flatten, rows_in
from disttrain.errors import DataError
from disttrain.seeds import fold_in

Told = NDArray[np.int64] | Batch  # the numbers of a batch's samples, or the samples


class Stream(Protocol):
    """The port: whoever reads samples in another way, shards by address for instance, conforms to it.

    Attributes:
        name: for messages, such as `"DataLoader"`.
        source: where samples of numbers come from; None where the batches bring their samples.
        once: can it be begun only once, as a generator that is under way?
        batches: of a pass, where that is known before; for people, and never relied on.
    """

    name: str
    source: Source | None
    once: bool
    batches: int | None

    def begin(self, data_pass: int, seed: int, position: Any = None) -> Iterator[Told]:
        """The batches of a pass, from its beginning or, where it can seek, from a `position` that it told of itself.

        Args:
            seed: of the phase; what is random in a pass is drawn from it and `data_pass`. The generators of the process are seeded by the
                reader, before this and before each batch.
        """

    def position(self) -> Any:
        """Where the pass that was begun last stands, in JSON types, tensors, arrays and bytes; None where it cannot seek."""

    def memory(self) -> Any:
        """What it goes on with from pass to pass, as of now, likewise; None where a pass is a function of its key."""

    def recall(self, memory: Any) -> None:
        """The inverse of `memory`."""

    @property
    def own(self) -> OwnState:
        """What the script's objects behind it go on with."""


class _Forgetful:
    """Of a stream that cannot seek."""

    source: Source | None = None
    once = False
    batches: int | None = None
    own = OwnState()

    def position(self) -> Any:
        return None

    def memory(self) -> Any:
        return self.own.memory()

    def recall(self, memory: Any) -> None:
        self.own.recall(memory)


class IndexStream(_Forgetful):
    """The batches of a DataLoader's sampler: numbers of samples, which are made where they are needed.

    A `generator` of the script's own goes on from pass to pass as in a plain loop over the loader, draw for draw.
    """

    def __init__(self, loader: Any) -> None:
        self.name, self._loader, self.source = "DataLoader", loader, loader_source(loader)
        self._samples = len(loader.dataset)
        sampler = loader.batch_sampler
        samplers = [sampler, getattr(sampler, "sampler", None), getattr(getattr(sampler, "sampler", None), "sampler", None)]
        self._samplers = list({id(one): one for one in samplers if one is not None}.values())
        self._refuse_shares()
        self.own, self._drew_base = OwnState(getattr(loader, "generator", None), *self._samplers), False
        try:
            self.batches = len(sampler)
        except TypeError:
            self.batches = None

    def _refuse_shares(self) -> None:
        for sampler in self._samplers:
            replicas = getattr(sampler, "num_replicas", 1)
            if isinstance(replicas, int) and replicas > 1:
                raise DataError(
                    f"a {type(sampler).__name__} that gives one of {replicas} processes its share of the samples.\n"
                    "  expected  a sampler of all samples: disttrain cuts each batch among the workers itself\n"
                    "  try       DataLoader(dataset, batch_size=..., shuffle=True), whose batch_size is that of all workers together"
                )

    def begin(self, data_pass: int, seed: int, position: Any = None) -> Iterator[Told]:
        for sampler in self._samplers:
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(data_pass)
        own = getattr(self._loader, "generator", None)
        if isinstance(own, torch.Generator) and not (self._drew_base and self._loader.persistent_workers):
            torch.empty((), dtype=torch.int64).random_(generator=own)  # as a plain loop does, before its sampler draws
            self._drew_base = True
        return self._numbers(iter(self._loader.batch_sampler))

    def _numbers(self, batches: Iterator[Any]) -> Iterator[Told]:
        for number, batch in enumerate(batches):
            try:
                found = np.array(batch.tolist() if isinstance(batch, torch.Tensor) else [int(index) for index in batch], dtype=np.int64)
            except (TypeError, ValueError) as error:
                raise DataError(f"batch {number} of the {self._whose()} is {batch!r}: expected a list of integers.") from error
            wrong = found[(found < -self._samples) | (found >= self._samples)]
            if len(wrong):
                raise DataError(
                    f"batch {number} of the {self._whose()} has the index {wrong[0]}, of a dataset of {self._samples} samples.\n"
                    f"  expected  integers from 0 to {self._samples - 1}"
                )
            yield np.where(found < 0, found + self._samples, found)

    def _whose(self) -> str:
        return type(self._loader.batch_sampler if self._loader.batch_size is None else self._loader.sampler).__name__

    def memory(self) -> Any:
        memory = self.own.memory()
        return None if memory is None else {**memory, "drew": self._drew_base}

    def recall(self, memory: Any) -> None:
        if memory is not None:
            self._drew_base = bool(memory["drew"])
            self.own.recall(memory)


class IterableStream(_Forgetful):
    """Batches, or samples that are put into batches, in the order of an iterable.

    Args:
        iterable: what `iter` is asked of for each pass; or a function that makes it; or an iterator, which has one pass.
        batch_size: how many samples a batch has; None where the iterable gives batches.
        collate: makes a batch of samples.
        drop_last: leave out a smaller last batch.
    """

    def __init__(
        self, iterable: Any, batch_size: int | None = None, *, name: str | None = None, collate: Callable[[list[Any]], Any] | None = None,
        drop_last: bool = False,
    ) -> None:  # fmt: skip
        self._make = iterable if callable(iterable) and not hasattr(iterable, "__iter__") else None
        self._iterable: Any = None if self._make else iterable
        self.name = name or (getattr(iterable, "__name__", None) or type(iterable).__name__)
        self.once = hasattr(iterable, "__next__")
        self.batch_size, self._collate, self._drop_last = batch_size, collate or default_collate, drop_last
        self._counts_weigh = batch_size is None and not isinstance(iterable, torch.utils.data.DataLoader)  # as Keras's generators have them
        self._running: Any = None
        self._fresh: Any = None  # where it stood before this pass
        self._unfinished = False
        self.own = self._own_state(iterable)
        self.batches = self._length()

    def _own_state(self, iterable: Any) -> OwnState:
        if isinstance(iterable, torch.utils.data.DataLoader):
            if iterable.persistent_workers:
                warnings.warn(
                    "the processes of a DataLoader over an IterableDataset are started anew for each pass, persistent_workers or not: what "
                    "the dataset draws and counts in them depends on the pass alone.", stacklevel=2,
                )  # fmt: skip
            dataset = None if iterable.num_workers else iterable.dataset  # it lives in the processes, and ends with them
            return OwnState(iterable.generator, iterable.sampler, iterable.collate_fn, dataset)
        return OwnState(iterable, self._collate, attributes=not self.once and not _can_seek(iterable))

    def _length(self) -> int | None:
        try:
            count = len(self._iterable)
        except (TypeError, NotImplementedError):
            return None
        if self.batch_size is None:
            return count
        return count // self.batch_size if self._drop_last else -(-count // self.batch_size)

    def begin(self, data_pass: int, seed: int, position: Any = None) -> Iterator[Told]:
        held: Any = self._iterable if self._make is None else self._make()
        if not hasattr(held, "__iter__"):
            raise DataError(f"{self.name}() gave a {type(held).__name__}: expected an iterator of batches, as a generator function gives.")
        owners: list[Any] = [held, getattr(held, "dataset", None), getattr(held, "sampler", None)]
        for owner in owners:
            if hasattr(owner, "set_epoch"):
                owner.set_epoch(data_pass)
        if isinstance(held, torch.utils.data.DataLoader) and type(held).__iter__ is torch.utils.data.DataLoader.__iter__:
            held._iterator = None  # processes that persist would go on from what they drew before
        if self._make is None and _can_seek(held):
            if self._fresh is None or not self._unfinished:
                self._fresh = copy.deepcopy(held.state_dict())
            elif position is None:
                position = copy.deepcopy(self._fresh)  # it would go on where it was left
        self._running, self._unfinished = held, True
        if position is not None:
            held.load_state_dict(position)
        return self._batches(iter(held))

    def _batches(self, items: Iterator[Any]) -> Iterator[Told]:
        if self.batch_size is None:
            for number, item in enumerate(items):
                yield _whole_batch(item, self.name, number, self._counts_weigh)
            self._unfinished = False
            return
        while samples := list(itertools.islice(items, self.batch_size)):
            if len(samples) == self.batch_size or not self._drop_last:
                yield as_batch(self._collate(samples))
        self._unfinished = False

    def position(self) -> Any:
        return copy.deepcopy(self._running.state_dict()) if _can_seek(self._running) else None

    def memory(self) -> Any:
        found = self.own.memory()
        if self._make is None and not self.once and _can_seek(self._iterable):
            state = self._fresh if self._unfinished else self._iterable.state_dict()
            found = {**(found or {"generators": [], "changed": []}), "state": copy.deepcopy(state)}
        return found

    def recall(self, memory: Any) -> None:
        self.own.recall(memory)
        if memory is not None and "state" in memory:
            self._iterable.load_state_dict(copy.deepcopy(memory["state"]))
            self._unfinished = False


class EpochDataset(_Forgetful):
    """A PyDataset whose batches depend on what its `on_epoch_end` did, or have no end: read batch after batch.

    Args:
        batches: of a pass; None for no end.
        trains: tell it of the epochs; a validation begins anew each time, and tells it nothing.
        shuffle: draw an order of the batches for each pass.
    """

    def __init__(self, dataset: Any, batches: int | None, trains: bool, shuffle: bool) -> None:
        self.name, self._dataset, self.batches = type(dataset).__name__, dataset, batches
        self._trains, self._shuffle = trains, shuffle and trains and batches is not None
        self._ended = 0  # passes whose end it was told of
        self._generators = generators_of(dataset)

    def begin(self, data_pass: int, seed: int, position: Any = None) -> Iterator[Told]:
        dataset = self._dataset
        if data_pass == 0 and hasattr(dataset, "_set_index_array"):  # Keras's own, which draws it at the first batch that anyone asks for
            dataset._set_index_array()
        if self._ended > data_pass and self._trains:
            raise DataError(
                f"{self.name} is at its epoch {self._ended + 1} and cannot go back to {data_pass + 1}: its on_epoch_end changed it.\n"
                "  try       the same command again: it goes on from the checkpoint"
            )
        while self._trains and self._ended < data_pass:  # of an earlier driver, whose passes this one has not seen
            self._end_pass(seed)
        if hasattr(dataset, "total_batches_seen"):
            dataset.total_batches_seen = data_pass * (self.batches or 0)
        if self._trains and hasattr(dataset, "on_epoch_begin"):
            dataset.on_epoch_begin()
        return self._made(data_pass, seed)

    def _made(self, data_pass: int, seed: int) -> Iterator[Told]:
        numbers: Iterator[int] = itertools.count() if self.batches is None else iter(range(self.batches))
        if self._shuffle:
            key = fold_in(seed, "shuffle", data_pass)
            numbers = iter(np.random.Generator(np.random.Philox(key=key)).permutation(self.batches or 0).tolist())
        for place, number in enumerate(numbers):
            seed_own(self._generators, fold_in(seed, "own", data_pass, place))
            yield _whole_batch(self._dataset[number], self.name, number, True)
        if self._trains:
            self._end_pass(seed)

    def _end_pass(self, seed: int) -> None:
        self._ended += 1
        seed_generators(fold_in(seed, "epoch end", self._ended))
        seed_own(self._generators, fold_in(seed, "epoch end", self._ended))
        self._dataset.on_epoch_end()


def _can_seek(held: Any) -> bool:
    return hasattr(held, "state_dict") and hasattr(held, "load_state_dict")


def _whole_batch(item: Any, name: str, number: int, counts_weigh: bool) -> Batch:
    batch = as_batch(item, counts_weigh=counts_weigh)
    with_axes = [leaf for leaf in flatten(list(batch)) if isinstance(leaf, PackedSequence) or leaf.ndim]
    targets = [leaf for leaf in flatten(batch[1]) if isinstance(leaf, torch.Tensor) and not leaf.ndim]
    if targets or not with_axes:  # one sample, not a batch of them
        return as_batch(default_collate([item]), counts_weigh=counts_weigh)
    lengths = {rows_in(leaf) for leaf in with_axes}
    if len(lengths) > 1:
        raise DataError(f"batch {number} of {name} holds arrays of unequal length: {sorted(lengths)}.\n  expected  as many rows in each")
    return batch


def rows_of(batch: Batch) -> int:
    """How many samples a batch holds."""
    return rows_in(list(batch))
