"""A permutation that is a function: which sample stands at a place, without a list of all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disttrain.seeds import fold_in

_ROUNDS = 6  # of the Feistel network; four make it indistinguishable in theory, two more cost little


class Permutation:
    """A permutation of `size` numbers, drawn from a key.

    A Feistel network permutes the numbers of an even count of bits, the fewest that hold `size`; what falls outside goes through it again
    until it falls inside (cycle walking), which takes less than four times on average.

    Args:
        size: 1 or more.
    """

    def __init__(self, size: int, key: int) -> None:
        self._size = size
        self._half = max(1, (max(1, size - 1).bit_length() + 1) // 2)
        self._keys = [np.uint64(fold_in(key, number)) for number in range(_ROUNDS)]

    def __call__(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """What stands at these places."""
        found = self._through(places.astype(np.uint64))
        outside = np.flatnonzero(found >= self._size)
        while len(outside):
            found[outside] = self._through(found[outside])
            outside = outside[found[outside] >= self._size]
        return found.astype(np.int64)

    def _through(self, numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
        half, mask = np.uint64(self._half), np.uint64((1 << self._half) - 1)
        left, right = numbers >> half, numbers & mask
        for key in self._keys:
            left, right = right, left ^ (_mixed(right, key) & mask)
        return (left << half) | right


def _mixed(numbers: NDArray[np.uint64], key: np.uint64) -> NDArray[np.uint64]:
    """Numbers that look drawn at random, one for each (splitmix64)."""
    with np.errstate(over="ignore"):
        mixed = numbers + key
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
