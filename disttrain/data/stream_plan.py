"""The steps of a phase whose batches a stream tells one after the other: what `BatchPlan` computes, this asks of an inlet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from disttrain.data.plan import BatchPlan, slice_of
from disttrain.data.reader import Item, Reader
from disttrain.data.sources import Batch
from disttrain.data.streams import rows_of
from disttrain.data.structure import take_rows
from disttrain.errors import DataError

OPEN = 1 << 32  # steps of an epoch that ends with its data: more than any has


class Inlet(Protocol):
    """Where the batches of a stream come in, on one worker."""

    def count(self, epoch: int, step: int) -> int | None:
        """How many samples the batch of a step holds; None: the epoch is over. Waits until that is known."""

    def is_here(self, epoch: int, step: int) -> bool:
        """Would `count` answer at once?"""

    def part(self, epoch: int, step: int, virtual_rank: int) -> Batch | NDArray[np.int64]:
        """The samples of a slice, or their numbers."""

    def key(self, epoch: int, step: int) -> int:
        """What the seeds of the samples of a batch are counted from."""


@dataclass(frozen=True)
class StreamPlan(BatchPlan):
    """The steps of an epoch over a stream.

    Args:
        batch_size: samples of the first batch; others may have other sizes.
        samples: of a pass, as far as is known, for people; `batch_size` at least.
        steps_per_epoch: steps of an epoch, which goes on where the one before stopped; None: an epoch is a pass.
        expected_steps: what people are told of; None where nothing is known.
        brings_samples: do the batches come with their samples, or with the numbers of samples?

    Attributes:
        reader: where the stream is read; None elsewhere.
        inlet: where this process has its batches from.
    """

    expected_steps: int | None = None
    brings_samples: bool = True
    reader: Any = field(default=None, compare=False, repr=False)
    inlet: Any = field(default=None, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_orders": {}, "_keys": {}, "reader": None, "inlet": None}

    @property
    def steps_per_pass(self) -> int:
        return OPEN

    @property
    def known_steps(self) -> int | None:
        return self.steps_per_epoch or self.expected_steps

    @property
    def reads_on(self) -> bool:
        return False

    def connect(self, inlet: Inlet) -> None:
        """From now on, batches come from there."""
        object.__setattr__(self, "inlet", inlet)

    def ended(self, epoch: int, step: int) -> bool:
        """Is the epoch over before this step? Waits until that is known.

        Raises:
            DataError: it would have no step at all.
        """
        if self._inlet.count(epoch, step) is not None:
            return False
        if step == 0:
            raise DataError(
                f"there are no samples left for epoch {epoch + 1}: the data gives its samples once, and gave the last of them before.\n"
                "  expected  fewer epochs; or what can be begun again, such as a generator function (fit(make_batches), not\n"
                "            fit(make_batches()))"
            )
        return True

    def is_last(self, epoch: int, step: int) -> bool:
        return step == self.steps - 1 or self._reader.item(epoch, step + 1) is None

    def counted(self, epoch: int, step: int) -> int | None:
        return self._reader.counted(epoch, step)

    def counted_ahead(self, epoch: int, step: int) -> int | None:
        if step >= self.steps:
            return 0
        return (self._inlet.count(epoch, step) or 0) if self._inlet.is_here(epoch, step) else None

    def batch_count(self, epoch: int, step: int) -> int:
        count = self._inlet.count(epoch, step)
        if count is None:
            raise DataError(f"the data has no batch {step + 1} in epoch {epoch + 1}")
        return count

    def run(self, epoch: int, step: int, virtual_rank: int) -> tuple[int, int] | None:
        return None

    def part(self, epoch: int, step: int, virtual_rank: int) -> Batch:
        """The samples of a slice, of a stream that brings them."""
        found = self._inlet.part(epoch, step, virtual_rank)
        assert not isinstance(found, np.ndarray)
        return found

    def indices(self, epoch: int, step: int, virtual_rank: int | None = None) -> NDArray[np.int64]:
        assert virtual_rank is not None
        found = self._inlet.part(epoch, step, virtual_rank)
        assert isinstance(found, np.ndarray)
        return found

    def key(self, epoch: int, step: int, virtual_rank: int = 0) -> int:
        start, _ = slice_of(self.batch_count(epoch, step), self.virtual_workers, virtual_rank)
        return int(self._inlet.key(epoch, step)) + start

    @property
    def _inlet(self) -> Inlet:
        if self.inlet is None:
            assert self.reader is not None, "a plan of a stream that nobody has connected"
            self.connect(LocalInlet(self.reader, self.virtual_workers))
        inlet: Inlet = self.inlet
        return inlet

    @property
    def _reader(self) -> Reader:
        assert self.reader is not None, "asked where the stream is not read"
        reader: Reader = self.reader
        return reader


class LocalInlet:
    """The batches of a stream that is read in this process."""

    def __init__(self, reader: Reader, virtual_workers: int) -> None:
        self._reader, self._virtual_workers = reader, virtual_workers

    def count(self, epoch: int, step: int) -> int | None:
        item = self._reader.item(epoch, step)
        return None if item is None else item.count

    def is_here(self, epoch: int, step: int) -> bool:
        return self._reader.stream.source is not None  # numbers cost nothing; samples are read when their step comes

    def part(self, epoch: int, step: int, virtual_rank: int) -> Batch | NDArray[np.int64]:
        item = self._reader.item(epoch, step)
        assert item is not None
        return part_of(item, self._virtual_workers, virtual_rank)

    def key(self, epoch: int, step: int) -> int:
        item = self._reader.item(epoch, step)
        assert item is not None
        return item.key


def part_of(item: Item, virtual_workers: int, virtual_rank: int) -> Batch | NDArray[np.int64]:
    """The slice of a virtual rank of a batch, in memory of its own."""
    start, stop = slice_of(item.count, virtual_workers, virtual_rank)
    told = item.told
    if isinstance(told, np.ndarray):
        return told[start:stop]
    if start == 0 and stop == rows_of(told):
        return told
    rows = torch.arange(start, stop)
    x, y, weight = (take_rows(part, rows) for part in told)
    return x, y, weight
