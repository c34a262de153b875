"""Reading ahead: the slices of the steps to come are asked of loader processes while the step at hand is computed."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from disttrain.data.plan import BatchPlan
from disttrain.data.sources import Batch, DatasetSource
from disttrain.data.structure import map_structure

Place = tuple[int, int, int]  # epoch, step, virtual rank

_tickets = itertools.count(1)  # no two slices of a process have the same: processes that persist are shared by calls


class ReadAhead:
    """The slices of one phase, made by loader processes.

    Args:
        source: has the settings of its loader processes.
        plan: which samples a slice holds.
        epochs: the one after the last that is read; where the processes do not persist, an epoch is read only once it has begun.
    """

    def __init__(self, source: DatasetSource, plan: BatchPlan, epochs: int) -> None:
        assert source.loader is not None
        self._source, self._plan, self._settings = source, plan, source.loader
        self._last_epoch = epochs - 1
        self._asked: dict[Place, int] = {}
        self._next: Place | None = None
        self._hosted = range(0)
        self._pins = self._settings.pins and torch.cuda.is_available()

    def host(self, ranks: range) -> None:
        """From now on, slices of these virtual ranks are taken here."""
        if ranks != self._hosted:
            self._hosted = ranks
            self._forget()

    def begin(self, epoch: int, step: int) -> None:
        """Steps follow from this one on."""
        if not self._asked and len(self._hosted):
            self._next = epoch, step, self._hosted.start
            self._fill()

    def take(self, epoch: int, step: int, rank: int) -> Batch:
        """The slice of a virtual rank of a step; waits until it is there."""
        place = epoch, step, rank
        if rank not in self._hosted:
            return self._source.fetch(self._plan.indices(*place), self._plan.key(*place))
        if place not in self._asked:
            if not self._asked or min(self._asked) < place:  # somewhere else than we thought; a slice that is redone comes before those
                self._forget()
                self._next = place
            else:
                self._ask(place)
        self._fill()
        try:
            batch: Batch = self._open().take(self._asked[place])
        finally:
            del self._asked[place]
        self._fill()
        if not self._settings.reads_on and not self._asked and self._next is None:
            self.close()  # the epoch is over
        if self._pins:
            x, y, weight = (map_structure(lambda tensor: tensor.pin_memory(), part) for part in batch)
            return x, y, weight
        return batch

    def forget(self) -> None:
        """What was read ahead is not what comes."""
        self._forget()

    def rest(self) -> None:
        """The call is over: forget what was read ahead, and let go of processes that do not persist."""
        if self._settings.persistent:
            self._forget()
        else:
            self.close()

    def close(self) -> None:
        """End the processes; the next slice starts them again."""
        self._asked.clear()
        self._next = None
        if self._source.pool is not None:
            self._source.pool.close()
            self._source.pool = None

    def _open(self) -> Any:
        if self._source.pool is None:
            self._source.pool = self._source.open_pool()
        return self._source.pool

    def _fill(self) -> None:
        """Ask for the slices hosted here, in the order in which they are taken, so far as they may be read ahead."""
        depth = self._source.depth(self._plan, len(self._hosted))
        while self._next is not None and len(self._asked) < depth:
            epoch, step, rank = self._next
            count = self._plan.counted_ahead(epoch, step)
            if count is None:
                return  # a stream has not told of it yet
            if not count:
                goes_on = self._settings.reads_on and self._plan.reads_on and epoch < self._last_epoch
                self._next = (epoch + 1, 0, self._hosted.start) if goes_on else None
                continue
            if rank < count:
                self._ask(self._next)
            self._next = (epoch, step, rank + 1) if rank + 1 < self._hosted.stop else (epoch, step + 1, self._hosted.start)

    def _ask(self, place: Place) -> None:
        self._asked[place] = next(_tickets)
        self._open().ask(self._asked[place], self._plan.indices(*place), self._plan.key(*place))

    def _forget(self) -> None:
        for ticket in self._asked.values():
            if self._source.pool is not None:
                self._source.pool.forget(ticket)
        self._asked.clear()
        self._next = None
