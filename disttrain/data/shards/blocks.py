"""What is read at once: the blocks of all shards of a source, each some rows that lie side by side, and the numbers of their samples."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Span = tuple[int, int, int, int]  # begin, end, rows, bytes


@dataclass(frozen=True)
class Blocks:
    """Blocks in the order of their shards.

    Args:
        shard: the number of the file of each.
        begin, end: where it lies in its file: bytes, or numbers of row groups.
        rows: how many samples it holds, 1 or more.
        nbytes: of memory that it takes, about.
    """

    shard: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    rows: NDArray[np.int64]
    nbytes: NDArray[np.int64]

    @classmethod
    def of(cls, spans: list[list[Span]]) -> Blocks:
        """Those of shard after shard."""
        table = np.array([(number, *span) for number, inside in enumerate(spans) for span in inside], dtype=np.int64).reshape(-1, 5)
        return cls(*(np.ascontiguousarray(column) for column in table.T))

    def __len__(self) -> int:
        return len(self.rows)

    def bounds(self) -> NDArray[np.int64]:
        """The number of the first sample of each, and at the end how many there are."""
        return np.concatenate([[0], np.cumsum(self.rows)]).astype(np.int64)

    def first_of_shard(self) -> NDArray[np.int64]:
        """The block that each block's shard begins with."""
        return np.searchsorted(self.shard, self.shard)

    def digest(self, sizes: list[int]) -> str:
        """Says which rows lie where: of two sources that agree in it, the same number names the same place."""
        total = hashlib.sha256(np.asarray(sizes, dtype=np.int64).tobytes())
        for column in (self.shard, self.begin, self.end, self.rows):
            total.update(column.tobytes())
        return total.hexdigest()[:16]


def in_runs(numbers: NDArray[np.int64], bounds: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Samples by the blocks that hold them: (block, places in `numbers`, rows in the block), blocks in order."""
    of = np.searchsorted(bounds, numbers, side="right") - 1
    order = np.argsort(of, kind="stable")
    blocks, starts = np.unique(of[order], return_index=True)
    return [
        (int(block), places, numbers[places] - bounds[block]) for block, places in zip(blocks, np.split(order, starts[1:]), strict=True)
    ]


def spans_of(value: Any) -> list[Span] | None:
    """Spans as JSON has them, looked at; None where they are none."""
    if not isinstance(value, list):
        return None
    found = []
    for item in value:
        if not isinstance(item, list) or len(item) != 4 or not all(type(number) is int and number >= 0 for number in item) or not item[2]:
            return None
        found.append((item[0], item[1], item[2], item[3]))
    return found
