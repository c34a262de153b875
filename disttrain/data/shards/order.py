"""The order in which blocks are visited: a function of (seed, pass, place), such that each virtual worker reads blocks of its own, one
after the other, and mixes what lies in a window of them.

All blocks of a pass stand in a line, in an order drawn for the pass. Each virtual worker has a share of the line, as many samples as its
slices take in the pass, and goes through it window by window; within a window its samples are permuted.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

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
        places = np.arange(first, min(stop, self.samples))
        if not self.shuffle:
            return places
        ranks, at = self._shares(places)
        begins = self._begins()
        line = np.empty_like(places)
        size = self.window_of_one
        windows = at // size
        for rank, number in {*zip(ranks.tolist(), windows.tolist(), strict=True)}:
            chosen = (ranks == rank) & (windows == number)
            inside = at[chosen] - number * size
            count = min(size, int(begins[rank + 1] - begins[rank]) - number * size)
            line[chosen] = begins[rank] + number * size + self._mixed(data_pass, rank, number, count, inside)
        order, ends = self._line(data_pass)
        blocks = np.searchsorted(ends, line, side="right")
        chosen_blocks = order[blocks]
        rows = self.bounds[chosen_blocks + 1] - self.bounds[chosen_blocks]
        found: NDArray[np.int64] = self.bounds[chosen_blocks] + line - (ends[blocks] - rows)
        return found

    def _shares(self, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of places in a pass: the virtual rank whose slice each is in, and where it is among the samples of that rank."""
        batches, offsets = np.divmod(places, self.batch_size)
        whole = self.samples // self.batch_size
        last = self.samples - whole * self.batch_size
        count = np.where(batches < whole, self.batch_size, last)
        size, longer = np.divmod(count, self.virtual_workers)
        in_longer = offsets < longer * (size + 1)
        shorter = longer + (offsets - longer * (size + 1)) // np.maximum(size, 1)
        ranks = np.where(in_longer, offsets // (size + 1), shorter)
        begins = ranks * size + np.minimum(ranks, longer)
        full, more = divmod(self.batch_size, self.virtual_workers)
        return ranks, batches * (full + (ranks < more)) + offsets - begins

    def _begins(self) -> NDArray[np.int64]:
        """Where the share of each virtual rank begins in the line, and at the end how long that is."""
        ranks = np.arange(self.virtual_workers)
        whole, last = divmod(self.samples, self.batch_size)
        shares = np.zeros(self.virtual_workers, dtype=np.int64)
        for times, count in ((whole, self.batch_size), (1, last)):
            size, longer = divmod(count, self.virtual_workers)
            shares += times * (size + (ranks < longer))
        return np.concatenate([[0], np.cumsum(shares)]).astype(np.int64)

    def _line(self, data_pass: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The blocks of a pass in their order, and where each ends in the line of samples."""
        if data_pass not in self._lines:
            key = fold_in(self.seed, "blocks", data_pass)
            order = np.random.Generator(np.random.Philox(key=key)).permutation(len(self.bounds) - 1)
            self._lines[data_pass] = order, np.cumsum(self.bounds[order + 1] - self.bounds[order])
            while len(self._lines) > _PASSES:
                self._lines.popitem(last=False)
        return self._lines[data_pass]

    def _mixed(self, data_pass: int, rank: int, number: int, count: int, inside: NDArray[np.int64]) -> NDArray[np.int64]:
        """What stands at places in a window."""
        key = fold_in(self.seed, "window", data_pass, rank, number)
        if count > LISTED_SAMPLES:
            return Permutation(count, key)(inside)
        name = data_pass, rank, number
        if name not in self._windows:
            self._windows[name] = np.random.Generator(np.random.Philox(key=key)).permutation(count)
            while len(self._windows) > 3 * self.virtual_workers:  # at hand, read ahead, and one that begins within a slice
                self._windows.popitem(last=False)
        return self._windows[name][inside]

    def slices_in_window(self) -> int:
        """Slices of a virtual worker that a window makes, at least: so many are read ahead for its blocks to be read once."""
        start, stop = slice_of(self.batch_size, self.virtual_workers, 0)
        return -(-self.window_of_one // max(1, stop - start))
