"""Streams as people pass them to `fit`: which kind something is, and the steps that come of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from disttrain.data.bad_samples import BadSample
from disttrain.data.generators import undisturbed
from disttrain.data.plan import BatchPlan
from disttrain.data.py_dataset import same_batch
from disttrain.data.reader import Reader
from disttrain.data.sources import Batch, DatasetSource
from disttrain.data.stream_plan import StreamPlan
from disttrain.data.streams import EpochDataset, IndexStream, IterableStream, Stream
from disttrain.data.structure import take_rows
from disttrain.errors import DataError

_DEFAULT_BATCH_SIZE = 32


class StreamedSource:
    """Stands where samples are asked for by number, for a stream that cannot be."""

    draws = True

    def __init__(self, name: str) -> None:
        self.name = name

    def __len__(self) -> int:
        raise DataError(f"nobody knows how many samples {self.name} has: it is read in its own order.")

    def fetch(self, indices: Any, key: int) -> Batch:
        raise DataError(f"{self.name} is read in its own order: no sample of it can be asked for by number.")


class StreamFeed:
    """Samples in an order of their own.

    Args:
        make: the stream for a batch size, which is None where the data says it, and for whether it trains and shuffles.
        kind: what was passed, for messages.
        own_batches: does it bring its batches?
    """

    def __init__(self, make: Callable[[int | None, bool, bool], Stream], kind: str, *, own_batches: bool) -> None:
        self._make, self.kind, self._own_batches = make, kind, own_batches
        self.source: Any = StreamedSource(kind)
        self.batch_size: int | None = None
        self.shuffle: bool | None = None
        self.whole_batches = own_batches

    def plan(
        self, batch_size: int | None, virtual_workers: int, *, shuffle: bool = False, seed: int = 0, steps: int | None = None,
        trains: bool = False, first_epoch: int = 0,
    ) -> BatchPlan:  # fmt: skip
        """The steps; reads the first batch, from which a model learns its shapes.

        Raises:
            DataError: a batch size beside data that bring their own; no samples at all.
        """
        if self._own_batches and batch_size is not None:
            raise DataError(f"batch_size={batch_size} beside a {self.kind}, which brings its own batches: leave batch_size out.")
        if steps is not None and steps < 1:
            raise DataError(f"steps={steps!r}: expected 1 or more, or None for one pass over the data.")
        size = batch_size if batch_size is not None or self._own_batches else _DEFAULT_BATCH_SIZE
        if size is not None and (not isinstance(size, int | np.integer) or size < 1):
            raise DataError(f"batch_size={size!r}: expected an integer of 1 or more.")
        stream = self._make(size, trains, shuffle)
        if stream.source is not None:
            self.source = stream.source
        restarts = not trains and not (stream.once and steps)  # of a generator that is under way, whoever validates takes what comes next
        begin = first_epoch if trains else 0
        reader = Reader(stream, seed, steps=steps, restarts=restarts, first_epoch=begin)
        first = reader.item(begin, 0)
        assert first is not None  # an empty stream raises
        reader.note_first(begin)
        expected = stream.batches if steps is None else steps
        return StreamPlan(
            first.count * (expected or 1), first.count, virtual_workers, False, seed, steps, restarts=restarts,
            expected_steps=expected, brings_samples=stream.source is None, reader=reader,
        )  # fmt: skip

    def range(self, start: int, stop: int) -> Any:
        raise DataError(f"validation_split cannot cut a {self.kind}, which is read in its own order.\n  try       validation_data=")

    def __len__(self) -> int:
        return len(self.source)


def example_of(feed: Any, plan: BatchPlan, samples: int, first_epoch: int = 0) -> Batch:
    """The first samples, from which a model learns its shapes."""
    if not isinstance(plan, StreamPlan):
        for first in range(len(feed.source) - samples + 1):
            try:
                return _repeatable(feed.source, np.arange(first, first + samples, dtype=np.int64), 0)
            except BadSample:
                continue
        raise DataError(f"no {samples} samples of the {feed.kind} that follow one another can be made.")
    item = plan.reader.item(0 if plan.restarts else first_epoch, 0)
    told = item.told[:samples] if isinstance(item.told, np.ndarray) else None
    if told is not None:
        with undisturbed():
            return _repeatable(plan.reader.stream.source, told, item.key)
    rows = torch.arange(min(samples, item.count))
    x, y, weight = (take_rows(part, rows) for part in item.told)
    return x, y, weight


def _repeatable(source: Any, numbers: np.ndarray[Any, Any], key: int) -> Batch:
    """Samples of a source.

    Raises:
        DataError: asked for again, a dataset makes others of them.
    """
    found: Batch = source.fetch(numbers, key)
    if isinstance(source, DatasetSource) and source.draws and not same_batch(found, source.fetch(numbers, key)):
        name = type(source.dataset).__name__
        raise DataError(
            f"sample {numbers[0]} of {name} is another one when it is asked for again.\n"
            "  expected  dataset[i] to be a function of i, of the global generators of Python, NumPy and torch and of those that the\n"
            "            dataset holds, which are seeded for each sample, so that any step can be redone anywhere\n"
            "  try       no counter, clock or generator of another library in __getitem__; or an IterableDataset, which is read in order"
        )
    return found


def stream_of_loader(loader: Any) -> StreamFeed | None:
    """A DataLoader whose batches have an order of their own; None for one whose order can be drawn from the run's seed."""
    data = torch.utils.data
    ordered = type(loader).__iter__ is data.DataLoader.__iter__ or type(loader).__module__.startswith("torchdata.")
    if isinstance(loader.dataset, data.IterableDataset) or loader.batch_sampler is None or not ordered:
        return StreamFeed(lambda size, trains, shuffle: IterableStream(loader, name="DataLoader"), "DataLoader", own_batches=True)
    if not hasattr(loader.dataset, "__len__"):
        raise DataError(
            f"a DataLoader over a {type(loader.dataset).__name__} without __len__: expected a map-style or an iterable dataset."
        )
    sampler: Any = loader.batch_sampler.sampler if type(loader.batch_sampler) is data.BatchSampler else None
    drawn = type(sampler) is data.RandomSampler and not sampler.replacement and sampler._num_samples is None
    plain = (drawn or type(sampler) is data.SequentialSampler) and len(sampler) == len(loader.dataset)
    seeded = loader.generator is not None or getattr(sampler, "generator", None) is not None
    if plain and not (drawn and seeded):
        return None
    return StreamFeed(lambda size, trains, shuffle: IndexStream(loader), "DataLoader", own_batches=True)


def stream_of(x: Any, argument: str) -> StreamFeed | None:
    """What is read in its own order: iterable datasets, generators and functions that make them; None for what is none of these."""
    name = type(x).__name__
    if isinstance(x, torch.utils.data.IterableDataset) or any(parent.__name__ == "IterableDataset" for parent in type(x).__mro__):
        return StreamFeed(lambda size, trains, shuffle: IterableStream(x, size, name=name), name, own_batches=False)
    if isinstance(x, str | bytes | type) or x is None:
        return None
    makes = callable(x) and not hasattr(x, "__iter__") and not hasattr(x, "__getitem__") and not hasattr(x, "__array__")
    only_iterable = hasattr(x, "__iter__") and not any(
        hasattr(x, name) for name in ("__getitem__", "__array__", "dtype", "to_numpy", "keys")
    )
    if not (makes or only_iterable or hasattr(x, "__next__")) or isinstance(x, set | frozenset):
        return None
    return StreamFeed(lambda size, trains, shuffle: IterableStream(x), "generator" if hasattr(x, "__next__") else name, own_batches=True)


def stream_of_py_dataset(dataset: Any) -> StreamFeed | None:
    """A PyDataset whose batches depend on its epochs, or have no end; None for one whose batches are functions of their numbers."""
    count = dataset.num_batches if hasattr(dataset, "num_batches") else len(dataset)
    if count is not None and not has_epoch_hooks(dataset):
        return None
    name = type(dataset).__name__
    return StreamFeed(lambda size, trains, shuffle: EpochDataset(dataset, count, trains, shuffle), name, own_batches=True)


_BASES = ("PyDataset", "Sequence")


def has_epoch_hooks(dataset: Any) -> bool:
    """Does it do something of its own at the beginning or the end of an epoch?"""
    for hook in ("on_epoch_begin", "on_epoch_end"):
        own = next((parent for parent in type(dataset).__mro__ if hook in parent.__dict__), None)
        if own is not None and own.__name__ not in _BASES:
            return True
    return False
