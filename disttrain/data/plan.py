"""Which samples make up which step, and which of them belong to which virtual worker. Pure: a function of (seed, pass, step)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from disttrain.data.permutation import Permutation
from disttrain.errors import DataError
from disttrain.seeds import fold_in

LISTED_SAMPLES = 1 << 24  # up to so many, a shuffled order is a list, of 128 MB at most


@dataclass(frozen=True)
class BatchPlan:
    """The steps of an epoch over `samples` samples.

    Args:
        samples: how many there are, 1 or more.
        batch_size: samples of one global batch; the last one of a pass may be shorter.
        virtual_workers: into how many slices each batch is cut.
        shuffle: draw a new order for each pass over the data.
        seed: what the orders are drawn from.
        drop_last: leave out the batch at the end of a pass that would be shorter.
        steps_per_epoch: steps of an epoch; None for one pass. An epoch then goes on where the one before stopped, as in Keras.
        restarts: begin anew in each epoch instead, as validation does.
    """

    samples: int
    batch_size: int
    virtual_workers: int = 1
    shuffle: bool = False
    seed: int = 0
    steps_per_epoch: int | None = None
    drop_last: bool = False
    restarts: bool = False
    _orders: dict[int, NDArray[np.int64]] = field(default_factory=dict, compare=False, repr=False)
    _keys: dict[int, int] = field(default_factory=dict, compare=False, repr=False)
    _skipped: dict[int, set[int]] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise DataError("the data holds no samples: expected 1 or more.")
        if not isinstance(self.batch_size, int | np.integer) or self.batch_size < 1:
            raise DataError(f"batch_size={self.batch_size!r}: expected an integer of 1 or more.")
        if self.steps_per_epoch is not None and self.steps_per_epoch < 1:
            raise DataError(f"steps_per_epoch={self.steps_per_epoch!r}: expected 1 or more, or None for one pass over the data.")
        if self.drop_last and self.samples < self.batch_size:
            raise DataError(f"drop_last with batch_size={self.batch_size} leaves nothing of {self.samples} samples.")

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_orders": {}, "_keys": {}}

    @property
    def steps_per_pass(self) -> int:
        """Steps that visit every sample once."""
        return self.samples // self.batch_size if self.drop_last else -(-self.samples // self.batch_size)

    @property
    def steps(self) -> int:
        """Steps of one epoch."""
        return self.steps_per_epoch or self.steps_per_pass

    @property
    def known_steps(self) -> int | None:
        """The same, where it is known before the epoch is over."""
        return self.steps

    @property
    def reads_on(self) -> bool:
        """May the next epoch be read while this one is computed?"""
        return not self.restarts

    def ended(self, epoch: int, step: int) -> bool:
        """Is the epoch over before this step, though it has more steps by number?"""
        return False

    def is_last(self, epoch: int, step: int) -> bool:
        """Does no step follow this one in its epoch?"""
        return step == self.steps - 1

    def counted(self, epoch: int, step: int) -> int | None:
        """How many samples the batch of a step holds; 0: there is none; None: not known yet."""
        return self.batch_count(epoch, step) if step < self.steps else 0

    def counted_ahead(self, epoch: int, step: int) -> int | None:
        """The same, asked by who reads ahead of the steps."""
        return self.counted(epoch, step)

    def place(self, epoch: int, step: int) -> tuple[int, int]:
        """(pass over the data, step within that pass) of a step of an epoch, both from 0."""
        return divmod((0 if self.restarts else epoch) * self.steps + step, self.steps_per_pass)

    def order(self, data_pass: int) -> NDArray[np.int64]:
        """The order in which pass number `data_pass` visits the samples: a permutation drawn from (seed, pass)."""
        return self._at(data_pass, 0, self.samples)

    def _at(self, data_pass: int, first: int, stop: int) -> NDArray[np.int64]:
        """The samples at the places [first, stop) of a pass. No list of all is made where they are in order, or very many."""
        if not self.shuffle:
            return np.arange(first, stop)
        if self.samples > LISTED_SAMPLES:
            return Permutation(self.samples, fold_in(self.seed, "shuffle", data_pass))(np.arange(first, stop))
        if data_pass not in self._orders:
            self._orders.clear()
            key = fold_in(self.seed, "shuffle", data_pass)
            self._orders[data_pass] = np.random.Generator(np.random.Philox(key=key)).permutation(self.samples)
        return self._orders[data_pass][first:stop]

    def batch_count(self, epoch: int, step: int) -> int:
        """How many samples the global batch of this step holds."""
        data_pass, in_pass = self.place(epoch, step)
        planned = min(self.batch_size, self.samples - in_pass * self.batch_size)
        return planned if data_pass not in self._skipped else len(self._left(data_pass, in_pass))

    def skip(self, data_pass: int, place: int) -> None:
        """Leave the sample at a place of a pass out: its batch is smaller by one.

        Raises:
            DataError: it was the last one of its batch.
        """
        self._skipped.setdefault(data_pass, set()).add(place)
        if not len(self._left(data_pass, place // self.batch_size)):
            raise DataError(
                f"no sample of batch {place // self.batch_size + 1} of pass {data_pass + 1} can be made: nothing is left of it."
            )

    def _left(self, data_pass: int, in_pass: int) -> NDArray[np.int64]:
        """The places of a batch that are not left out."""
        first = in_pass * self.batch_size
        places = np.arange(first, min(first + self.batch_size, self.samples))
        return places[[place not in self._skipped.get(data_pass, ()) for place in places.tolist()]]

    def place_of(self, epoch: int, step: int, virtual_rank: int, offset: int) -> tuple[int, int]:
        """(pass, place in it) of a sample of a slice."""
        data_pass, in_pass = self.place(epoch, step)
        left = self._left(data_pass, in_pass)
        return data_pass, int(left[slice_of(len(left), self.virtual_workers, virtual_rank)[0] + offset])

    def run(self, epoch: int, step: int, virtual_rank: int) -> tuple[int, int] | None:
        """(first, one after the last) sample of a slice where its samples stand side by side; None where they may not."""
        if self.shuffle:
            return None
        data_pass, in_pass = self.place(epoch, step)
        if data_pass in self._skipped:
            return None
        first = in_pass * self.batch_size
        start, stop = slice_of(min(self.batch_size, self.samples - first), self.virtual_workers, virtual_rank)
        return first + start, first + stop

    def indices(self, epoch: int, step: int, virtual_rank: int | None = None) -> NDArray[np.int64]:
        """Sample numbers of the global batch of a step, or of one virtual worker's slice of it (sizes differ by at most one)."""
        data_pass, in_pass = self.place(epoch, step)
        first = in_pass * self.batch_size
        if data_pass in self._skipped:
            left = self._left(data_pass, in_pass)
            kept = self._at(data_pass, first, first + self.batch_size)[left - first]
            return kept if virtual_rank is None else kept[slice(*slice_of(len(left), self.virtual_workers, virtual_rank))]
        count = min(self.batch_size, self.samples - first)
        if virtual_rank is None:
            return self._at(data_pass, first, first + count)
        start, stop = slice_of(count, self.virtual_workers, virtual_rank)
        return self._at(data_pass, first + start, first + stop)

    def key(self, epoch: int, step: int, virtual_rank: int = 0) -> int:
        """What the seeds of a slice's samples are counted from: each sample of a pass has one of its own, however the batch is cut."""
        data_pass, in_pass = self.place(epoch, step)
        first, count = in_pass * self.batch_size, self.batch_count(epoch, step)
        return self._key(data_pass) + first + slice_of(count, self.virtual_workers, virtual_rank)[0]

    def _key(self, data_pass: int) -> int:
        if data_pass not in self._keys:
            self._keys.clear()
            self._keys[data_pass] = fold_in(self.seed, "samples", data_pass)
        return self._keys[data_pass]


def check_batch_size(batch_size: int, virtual_workers: int, *, own_batches: bool = False) -> None:
    """Raise DataError where a training batch cannot give every virtual worker a sample.

    Args:
        own_batches: of data that bring batches of several sizes, whose first one may be the smallest.
    """
    if batch_size < virtual_workers and own_batches:
        warnings.warn(
            f"the first batch holds {batch_size} samples for {virtual_workers} virtual workers: some have nothing to do in such a step.",
            stacklevel=3,
        )
    elif batch_size < virtual_workers:
        raise DataError(
            f"batch_size={batch_size} cannot be cut into {virtual_workers} slices, one for each virtual worker.\n"
            f"  expected  a batch_size of {virtual_workers} or more\n"
            f"  try       batch_size={virtual_workers} or a multiple of it, or fewer virtual workers (--virtual-workers {batch_size})"
        )


def slice_of(count: int, parts: int, number: int) -> tuple[int, int]:
    """Where slice `number` of `parts` begins and ends in a batch of `count`: the first `count % parts` slices hold one more.

    Example:
        >>> [slice_of(10, 4, v) for v in range(4)]
        [(0, 3), (3, 6), (6, 8), (8, 10)]
    """
    size, longer = divmod(count, parts)
    start = number * size + min(number, longer)
    return start, start + size + (number < longer)
