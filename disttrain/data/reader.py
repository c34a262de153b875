"""The one reader of a stream: it keeps the position, a few batches for those who ask twice, and what a checkpoint needs to go on.

A position is the number of batches taken of a pass, with the samples in them, and a digest of those: a reader that goes on from one reads
up to it, or lets the stream seek, and tells where it finds other samples than were taken.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from disttrain.data.generators import seed_generators, undisturbed
from disttrain.data.streams import Stream, Told, rows_of
from disttrain.data.structure import tensor_paths
from disttrain.errors import DataError
from disttrain.seeds import fold_in

_KEPT = 256  # batches of numbers
_KEPT_WHOLE = 16  # batches of samples: twice what workers ask for ahead, and more
_CHUNK = 64  # numbers are drawn so many batches at once
_LOOKED_AT = 1 << 16  # bytes of each tensor of a batch that go into the digest

Spot = tuple[int, int]  # a lane and a number in it, see `Reader`


@dataclass(frozen=True, slots=True)
class Item:
    """One batch that was read.

    Args:
        told: the numbers of its samples, or the samples.
        count: of its samples.
        key: what the seeds of its samples are counted from.
    """

    told: Told
    count: int
    key: int


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a stream stood before a batch was read.

    Args:
        data_pass, batches, samples: the pass, and what had been taken of it.
        digest: of that.
        memory: of the stream, when the pass began.
        position: of the stream, where it can seek.
    """

    data_pass: int
    batches: int = 0
    samples: int = 0
    digest: str = ""
    memory: Any = None
    position: Any = None


class Reader:
    """Reads a stream for the steps of a phase, which are numbered within lanes: one for each epoch, where each epoch is a pass of its own;
    one for all where an epoch has a number of steps, and goes on where the one before stopped.

    Args:
        seed: what each pass draws is drawn from this.
        steps: of an epoch; None: as many as the pass has.
        restarts: each epoch is pass 0 again.
        first_epoch: where the first pass begins.
        keeps: are positions asked for, and does the process have generators that others draw from meanwhile?
    """

    def __init__(
        self, stream: Stream, seed: int, *, steps: int | None = None, restarts: bool = False, first_epoch: int = 0, keeps: bool = True,
        note: Callable[[str], None] = lambda words: None,
    ) -> None:  # fmt: skip
        self.stream, self.keeps, self.note = stream, keeps, note
        self._seed, self._steps, self._restarts = seed, steps, restarts
        self._one_lane = steps is not None and not restarts
        self._first = first_epoch * (steps or 0) if self._one_lane else 0
        self._first_epoch = first_epoch
        self._kept = _KEPT if stream.source is not None else _KEPT_WHOLE
        self._items: OrderedDict[Spot, Item | None] = OrderedDict()
        self._marks: dict[Spot, Mark] = {}
        self._noted: dict[Spot, Mark] = {}  # of checkpoints, and of where an attempt goes on
        self._batches: Iterator[Told] | None = None
        self._chunk: list[Told] = []
        self._drawn = 0  # batches that were asked of the stream in this pass
        self._lane, self._at = -1, 0
        self._mark = Mark(-1)
        self._begun = self._over = self._told = False
        # Who validates begins anew each time, also with the script's generators, which go on for others meanwhile.
        self._initial = stream.memory() if restarts and not stream.once else None
        self._lent: list[Any] | None = None if self._initial is None else list(self._initial["generators"])
        self._counts: dict[Spot, int] = {}
        self.keeps_counts = True  # of all batches, as a predict needs them; else of the newest

    def stay_in_this_process(self) -> None:
        """Nobody asks for positions or twice, and whoever asks seeds the generators again."""
        self.keeps_counts = False
        self.keeps, self._kept = False, min(self._kept, _KEPT if self.stream.source is not None else 3)

    # -- asking ---------------------------------------------------------------------------------------------------------------------

    def item(self, epoch: int, step: int) -> Item | None:
        """The batch of a step; None: there is none, and the epoch is over.

        Raises:
            DataError: the stream gives nothing, or cannot go back, or gives other samples than it gave.
            Exception: what the script's code raises.
        """
        spot = self._spot(epoch, step)
        if spot in self._items:
            return self._items[spot]
        if spot[0] != self._lane or spot[1] < self._at or self._jumps_to(spot):
            self._go_to(spot)
        while spot not in self._items:
            self._read()
        return self._items[spot]

    def counted(self, epoch: int, step: int) -> int | None:
        """How many samples the batch of a step held; 0: the pass was over; None: nobody has read so far."""
        return self._counts.get(self._spot(epoch, step))

    def mark(self, epoch: int, step: int) -> Mark | None:
        """Where the stream stood before that step; None where that is not known any more."""
        spot = self._spot(epoch, step)
        found = self._noted.get(spot) or self._marks.get(spot)
        if found is None and spot[1] == 0 and not self._one_lane and not self.stream.once:
            return Mark(self._pass_of(spot[0]), memory=self.stream.memory())
        return found

    def note_first(self, epoch: int) -> None:
        """Somebody may go back to the beginning."""
        mark = self.mark(epoch, 0)
        if mark is not None:
            self.note_mark(epoch, 0, mark)

    def note_mark(self, epoch: int, step: int, mark: Mark) -> None:
        """Somebody may go back to, or on from, this step."""
        self._noted[self._spot(epoch, step)] = mark

    def forget_before(self, epoch: int, step: int) -> None:
        """Nobody will go back to before this step."""
        limit = self._spot(epoch, step)
        self._noted = {spot: mark for spot, mark in self._noted.items() if spot >= limit}

    # -- places ---------------------------------------------------------------------------------------------------------------------

    def _spot(self, epoch: int, step: int) -> Spot:
        if self._one_lane:
            assert self._steps is not None
            return 0, epoch * self._steps + step
        return epoch, step

    def _pass_of(self, lane: int) -> int:
        return 0 if self._restarts or self._one_lane else lane

    def _jumps_to(self, spot: Spot) -> bool:
        """Is there a position on the way there that the stream can seek?"""
        return any(
            other[0] == spot[0] and self._at < other[1] <= spot[1] and mark.position is not None
            for other, mark in list(self._noted.items())
        )

    def _go_to(self, spot: Spot) -> None:
        lane, number = spot
        known = {place: mark for (other, place), mark in {**self._marks, **self._noted}.items() if other == lane}
        begins = {place - mark.batches: Mark(mark.data_pass, memory=mark.memory) for place, mark in known.items()}  # their passes
        before = {place: mark for place, mark in {**begins, **known}.items() if place <= number}
        first = lane, max(before, default=self._first)
        mark = before.get(first[1]) or Mark(self._pass_of(lane))
        if self._begun and self._at <= 1 and self._restarts and number <= 1 and not self._over:
            # Only the first batch has been read, for an example: this is the pass that was begun then.
            self._items = OrderedDict(((lane, place), item) for (_, place), item in self._items.items())
            self._lane = lane
            return
        ahead = self._begun and mark.data_pass == self._mark.data_pass and mark.batches >= self._mark.batches and lane == self._lane
        ahead &= mark.position is None or mark.batches == self._mark.batches  # else it seeks
        if self.stream.once and self._begun and not ahead:
            raise DataError(
                f"{self.stream.name} is a generator that is under way, and gives its samples once: it cannot be begun again "
                f"{'for epoch ' + str(lane + 1) if not self._one_lane and lane != self._lane else 'for steps that are done once more'}.\n"
                "  expected  what can be begun again: a generator function (fit(make_batches), not fit(make_batches())), or an object\n"
                "            whose __iter__ begins anew"
            )
        if not ahead:
            self._begin(mark)
        self._items.clear()
        while self._mark.batches < mark.batches:  # what has been taken before; the stream cannot seek
            self._next()
            if self._batches is None:
                break  # it ended early
        self._lane, self._at = first
        self._check(mark)
        self._marks[first] = self._mark

    def _check(self, mark: Mark | None) -> None:
        """Is what has been taken of this pass what was taken of it before?"""
        if mark is None or not mark.digest or not self.keeps or (self._mark.digest, self._mark.batches) == (mark.digest, mark.batches):
            return
        raise DataError(
            f"{self.stream.name} gave other samples than before: the first {mark.batches} batches of pass {mark.data_pass + 1} are not "
            "those that the run was trained on.\n"
            "  expected  the same batches in each pass of the same number: what is drawn from the generators of Python, NumPy and torch\n"
            "            is seeded; a clock, a directory that grows or a generator of its own is not\n"
            "  try       a fixed order of files, a seed of your own; or --restart to begin anew"
        )

    def _begin(self, mark: Mark) -> None:
        if self._initial is not None:
            with self.stream.own.lent([]):
                self.stream.recall(self._initial)
            self._lent = list(self._initial["generators"])
        elif mark.memory is not None:
            self.stream.recall(mark.memory)
        memory = self._initial or self.stream.memory()
        seeks = mark.position is not None and mark.batches > 0
        if mark.batches > _CHUNK and not seeks:
            self.note(f"reading past the first {mark.batches} batches of {self.stream.name}, which cannot seek")
        with self._apart():
            seed_generators(fold_in(self._seed, "pass", mark.data_pass))
            self._batches = iter(self.stream.begin(mark.data_pass, self._seed, mark.position if seeks else None))
        self._chunk, self._begun, self._over = [], True, False
        self._mark = replace(mark, memory=memory) if seeks else Mark(mark.data_pass, memory=memory)
        self._drawn = self._mark.batches

    # -- reading --------------------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """The batch that comes next in the lane."""
        spot = self._lane, self._at
        item = None if self._over else self._next()
        if item is None and not self._over:
            self._end_pass()
            if self._one_lane and not self.stream.once:
                self._begin(Mark(self._mark.data_pass + 1))
                item = self._next()
                if item is None:
                    self._end_pass()
        self._over = item is None
        self._items[spot] = item
        self._counts[spot] = 0 if item is None else item.count
        self._at += 1
        if item is not None:
            self._marks[self._lane, self._at] = self._mark
            self._check(self._noted.get((self._lane, self._at)))
        elif self.stream.once and self._one_lane and not self._told:
            self._told = True
            warnings.warn(f"{self.stream.name} gave {self._mark.batches} batches in all, fewer than were asked for.", stacklevel=2)
        while len(self._items) > self._kept:
            self._items.popitem(last=False)
        while len(self._marks) > 4 * self._kept:
            self._marks.pop(next(iter(self._marks)), None)
        while len(self._counts) > 4 * self._kept and not self.keeps_counts:
            self._counts.pop(next(iter(self._counts)), None)

    def _end_pass(self) -> None:
        if not self._mark.batches:
            words = f"of pass {self._mark.data_pass + 1} " if self._mark.data_pass else ""
            raise DataError(f"{self.stream.name} gave no samples {words}at all.\n  expected  one batch or more")

    def _next(self) -> Item | None:
        mark = self._mark
        key = fold_in(self._seed, "pass", mark.data_pass)
        if not self._chunk and self._batches is not None:
            with self._apart():
                seed_generators(fold_in(key, self._drawn))
                self._chunk = self._draw(_CHUNK if self.stream.source is not None else 1)
            self._drawn += len(self._chunk)
        if not self._chunk:
            self._batches = None
            return None
        told = self._chunk.pop(0)
        count = len(told) if isinstance(told, np.ndarray) else rows_of(told)
        item = Item(told, count, fold_in(key, "samples") + mark.samples)
        digest, position = "", None
        if self.keeps:
            digest = _digest(mark.digest, told)
            position = self.stream.position() if self.stream.source is None else None
        self._mark = replace(mark, batches=mark.batches + 1, samples=mark.samples + count, digest=digest, position=position)
        return item

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """Around the script's code: the generators are seeded for it, and others in this process go on with theirs."""
        with undisturbed() if self.keeps else nullcontext(), self.stream.own.lent(self._lent) if self._lent else nullcontext():
            yield

    def _draw(self, many: int) -> list[Told]:
        assert self._batches is not None
        found = []
        for told in self._batches:
            found.append(told)
            if len(found) == many:
                break
        return found


def _digest(before: str, told: Told) -> str:
    """Of what was taken before and a batch; of large tensors, some bytes from all over them."""
    total = hashlib.blake2b(before.encode(), digest_size=12)
    if isinstance(told, np.ndarray):
        total.update(told.tobytes())
        return total.hexdigest()
    for _, leaf in tensor_paths(list(told), "batch"):
        if isinstance(leaf, torch.Tensor):
            data = leaf.detach().contiguous().reshape(-1).view(torch.uint8)
            total.update(f"{leaf.dtype} {tuple(leaf.shape)}".encode())
            total.update(data[:: max(1, len(data) // _LOOKED_AT)].contiguous().numpy().tobytes())
    return total.hexdigest()
