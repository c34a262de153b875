"""What a person may pass as data, and what it brings with it: the samples, and for some kinds the batches."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.data.plan import BatchPlan
from disttrain.data.py_dataset import BatchesSource, WholeBatchPlan, is_py_dataset
from disttrain.data.refusals import refuse_others_orders, refuse_samples
from disttrain.data.shards import Shards, ShardSource
from disttrain.data.sources import ArraySource, DatasetSource, RangeSource, Source, loader_source
from disttrain.data.stream_feed import StreamFeed, stream_of, stream_of_loader, stream_of_py_dataset
from disttrain.data.tables import columns_of, is_table
from disttrain.errors import DataError

_DEFAULT_BATCH_SIZE = 32


@dataclass(frozen=True)
class Feed:
    """Samples, and how they come in batches where the data itself says so.

    Args:
        source: the samples.
        kind: what was passed, for messages.
        batch_size, shuffle, drop_last: as the data says; None where it leaves that to the call.
        whole_batches: batches are those of the data and are never mixed.
    """

    source: Source
    kind: str
    batch_size: int | None = None
    shuffle: bool | None = None
    drop_last: bool = False
    whole_batches: bool = False

    def __len__(self) -> int:
        return len(self.source)

    def plan(
        self, batch_size: int | None, virtual_workers: int, *, shuffle: bool = False, seed: int = 0, steps: int | None = None,
        trains: bool = False, first_epoch: int = 0,
    ) -> BatchPlan:  # fmt: skip
        """The batches of an epoch; without `batch_size`, 32 samples each, or as many as make `steps` batches of one pass, as in Keras.

        Args:
            trains: an epoch of fewer or more steps than a pass goes on where the one before stopped; else each begins anew and ends with
                the data.

        Raises:
            DataError: a batch size beside data that bring their own.
        """
        if self.batch_size is not None:
            if batch_size is not None and batch_size != self.batch_size:
                raise DataError(f"batch_size={batch_size} beside a {self.kind} whose batches hold {self.batch_size}: leave batch_size out.")
            batch_size = self.batch_size
        if batch_size is None:
            batch_size = _DEFAULT_BATCH_SIZE if steps is None else max(1, -(-len(self.source) // max(1, steps)))
        make = WholeBatchPlan if self.whole_batches else BatchPlan
        shuffled = shuffle if self.shuffle is None else self.shuffle
        plan = make(len(self.source), batch_size, virtual_workers, shuffled, seed, steps, self.drop_last, restarts=not trains)
        if isinstance(self.source, ShardSource):
            plan = self.source.planned(plan)
        if trains or steps is None or steps <= plan.steps_per_pass:
            return plan
        warnings.warn(f"{steps} steps were asked for, the data makes {plan.steps_per_pass}: all of it is taken, once.", stacklevel=3)
        return replace(plan, steps_per_epoch=None)

    def range(self, start: int, stop: int) -> Feed:
        """Samples [start, stop) of it.

        Raises:
            DataError: the data come in batches of their own.
        """
        if self.batch_size is not None:
            raise DataError(f"validation_split cannot cut a {self.kind}, which brings its own batches.\n  try       validation_data=")
        part = self.source.range(start, stop) if isinstance(self.source, ShardSource) else RangeSource(self.source, start, stop)
        return Feed(part, self.kind, shuffle=self.shuffle)


def feed_of(x: Any, y: Any = None, sample_weight: Any = None, *, argument: str = "x") -> Feed | StreamFeed:
    """What `x` (and `y`, `sample_weight`) of `fit` stand for.

    Arrays, tensors, pandas objects, and dicts, lists and tuples of them; files by URL; a torch `Dataset` of either kind; a `DataLoader`
    over one; a `PyDataset`; an iterable of batches, a generator, or a function that makes one.

    Raises:
        DataError: `y` beside a dataset that brings its own.
    """
    if isinstance(x, Feed | StreamFeed):
        return x
    refuse_others_orders(x, argument)
    if is_table(x):
        x = columns_of(x)
    loader = isinstance(x, torch.utils.data.DataLoader)
    stream = None if loader or is_py_dataset(x) else stream_of(x, argument)
    if loader or stream is not None or is_py_dataset(x) or _is_dataset(x):
        if y is not None or sample_weight is not None:
            raise DataError(f"{argument} is a {type(x).__name__}, which brings its own targets: leave y and sample_weight out.")
        if stream is not None:
            return stream
        if loader:
            told = stream_of_loader(x)
            return _loader_feed(x) if told is None else told
        if is_py_dataset(x):
            if (told := stream_of_py_dataset(x)) is not None:
                return told
            batches = BatchesSource(x)
            return Feed(batches, type(x).__name__, batches.batch_size, whole_batches=True)
        if isinstance(x, Shards):
            return Feed(x.numbered_source(), x.kind)
        return Feed(DatasetSource(x), type(x).__name__)
    refuse_samples(x, argument)
    return Feed(ArraySource(x, y, sample_weight), "array")


def source_of(x: Any, y: Any = None, sample_weight: Any = None, *, argument: str = "x") -> Any:
    """The samples of `feed_of`."""
    return feed_of(x, y, sample_weight, argument=argument).source


def _loader_feed(loader: Any) -> Feed:
    """The dataset of a DataLoader with its batch size and shuffling; its order is drawn from the run's seed."""
    batches = loader.batch_sampler
    drawn = type(batches.sampler) is torch.utils.data.RandomSampler
    return Feed(loader_source(loader), "DataLoader", int(batches.batch_size), drawn, bool(batches.drop_last))


def _is_dataset(x: Any) -> bool:
    return isinstance(x, torch.utils.data.Dataset) or (
        not isinstance(x, list | tuple | dict | Mapping | str | bytes | np.ndarray | Tensor)
        and hasattr(x, "__getitem__")
        and hasattr(x, "__len__")
        and not hasattr(x, "dtype")
        and not hasattr(x, "to_numpy")
    )
