"""The order in which blocks are visited: a function of (seed, pass, place), such that each virtual worker reads blocks of its own, one
after the other, and mixes what lies in a window of them.

All blocks of a pass stand in a line, in an order drawn for the pass. Each virtual worker has a share of the line, as many samples as its
slices take in the pass, and goes through it window by window; within a window its samples are permuted.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from disttrain.data.permutation import Permutation
from disttrain.data.plan import LISTED_SAMPLES, BatchPlan, slice_of
from disttrain.seeds import fold_in

_PASSES = 2  # the one at hand, and the one that is read ahead


@dataclass(frozen=True)
class BlockPlan(BatchPlan):
    """A plan over samples that lie in blocks.

    Args:
        bounds: the number of the first sample of each block, and at the end how many there are.
        window: samples that are mixed with one another, of all virtual workers together.
    """

    bounds: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64), compare=False, repr=False)
    window: int = 1
    _windows: OrderedDict[tuple[int, int, int], NDArray[np.int64]] = field(default_factory=OrderedDict, compare=False, repr=False)
    _lines: OrderedDict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=OrderedDict, compare=False, repr=False)

    def __getstate__(self) -> dict[str, object]:
        return {**super().__getstate__(), "_windows": OrderedDict(), "_lines": OrderedDict()}

    @property
    def window_of_one(self) -> int:
        """Samples that one virtual worker mixes."""
        return max(1, self.window // self.virtual_workers)

    def _at(self, data_pass: int, first: int, stop: int) -> NDArray[np.int64]:
        stop = min(stop, self.samples)
        if not self.shuffle:
            return np.arange(first, stop)
        size, pieces = self.window_of_one, []
        while first < stop:
            rank, at, left = self._share(first)
            begin, end = self._shares[rank], self._shares[rank + 1]
            number, inside = divmod(at, size)
            in_window = min(size, end - begin - number * size)
            count = min(left, in_window - inside, stop - first)
            pieces.append(begin + number * size + self._mixed(data_pass, rank, number, in_window, inside, inside + count))
            first += count
        line = pieces[0] if len(pieces) == 1 else np.concatenate([np.arange(0), *pieces])
        order, ends = self._line(data_pass)
        places = np.searchsorted(ends, line, side="right")
        blocks = order[places]
        found: NDArray[np.int64] = self.bounds[blocks + 1] - ends[places] + line
        return found

    def _share(self, place: int) -> tuple[int, int, int]:
        """Of a place in a pass: the virtual rank whose slice it is in, where it is among the samples of that rank, and how many places from
        it on are in the same slice."""
        batch, offset = divmod(place, self.batch_size)
        size, longer = divmod(min(self.batch_size, self.samples - batch * self.batch_size), self.virtual_workers)
        in_longer = longer * (size + 1)
        rank = offset // (size + 1) if offset < in_longer else longer + (offset - in_longer) // size
        begin = rank * size + min(rank, longer)
        full, more = divmod(self.batch_size, self.virtual_workers)
        return rank, batch * (full + (rank < more)) + offset - begin, begin + size + (rank < longer) - offset

    @cached_property
    def _shares(self) -> list[int]:
        """Where the share of each virtual rank begins in the line, and at the end how long that is."""
        ends = [0]
        whole, last = divmod(self.samples, self.batch_size)
        for rank in range(self.virtual_workers):
            sizes = [divmod(count, self.virtual_workers) for count in (self.batch_size, last)]
            of_batch, of_last = (size + (rank < longer) for size, longer in sizes)
            ends.append(ends[-1] + whole * of_batch + of_last)
        return ends

    def _line(self, data_pass: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The blocks of a pass in their order, and where each ends in the line of samples."""
        if data_pass not in self._lines:
            key = fold_in(self.seed, "blocks", data_pass)
            order = np.random.Generator(np.random.Philox(key=key)).permutation(len(self.bounds) - 1)
            self._lines[data_pass] = order, np.cumsum(self.bounds[order + 1] - self.bounds[order])
            while len(self._lines) > _PASSES:
                self._lines.popitem(last=False)
        return self._lines[data_pass]

    def _mixed(self, data_pass: int, rank: int, number: int, count: int, first: int, stop: int) -> NDArray[np.int64]:
        """What stands at the places [first, stop) of a window."""
        name = data_pass, rank, number
        if name not in self._windows:
            key = fold_in(self.seed, "window", *name)
            if count > LISTED_SAMPLES:
                return Permutation(count, key)(np.arange(first, stop))
            self._windows[name] = np.random.Generator(np.random.Philox(key=key)).permutation(count)
            while len(self._windows) > 3 * self.virtual_workers:  # at hand, read ahead, and one that begins within a slice
                self._windows.popitem(last=False)
        return self._windows[name][first:stop]

    def slices_in_window(self) -> int:
        """Slices of a virtual worker that a window makes, at least: so many are read ahead for its blocks to be read once."""
        start, stop = slice_of(self.batch_size, self.virtual_workers, 0)
        return -(-self.window_of_one // max(1, stop - start))
