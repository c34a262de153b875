"""What kinds of files there are: each knows where its blocks lie, reads one, and makes a sample of a row."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from disttrain.data.shards.blocks import Span
from disttrain.data.shards.files import Files


class Format(Protocol):
    """A kind of file.

    Attributes:
        name: for people.
        columnar: do blocks come as `Columns`, or as a list of rows?
        settings: what the blocks depend on beside the files.
        keeps: does finding the blocks read all of a file, so that it is done once only?
    """

    name: str
    columnar: bool
    keeps: bool

    @property
    def settings(self) -> str: ...

    def look(self, files: Files, number: int) -> list[Span]:
        """The blocks of a file."""

    def load(self, files: Files, number: int, begin: int, end: int) -> Any:
        """The rows of a block."""

    def sample(self, row: Any, where: str) -> dict[str, Any]:
        """The fields of a row.

        Args:
            where: it lies, for people.
        """


class Columns:
    """Rows as arrays by name, of one length."""

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self.arrays = arrays

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values()), ()))

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {name: array[row] for name, array in self.arrays.items()}


def gathered(parts: list[tuple[Columns, NDArray[np.int64], NDArray[np.int64]]], count: int) -> Columns:
    """Rows of several blocks as one; a column whose rows have other shapes in other blocks becomes one of objects.

    Args:
        parts: columns of a block, the places that its rows take, and which rows they are.
        count: of all places.
    """
    found: dict[str, NDArray[Any]] = {}
    for column in parts[0][0].arrays:
        arrays = [columns.arrays[column] for columns, _, _ in parts]
        alike = len({array.shape[1:] for array in arrays}) == 1 and all(array.dtype != object for array in arrays)
        whole = np.empty((count, *arrays[0].shape[1:]), np.result_type(*arrays)) if alike else np.empty(count, dtype=object)
        for array, (_, places, rows) in zip(arrays, parts, strict=True):
            if alike:
                whole[places] = array[rows]
            else:
                for place, row in zip(places.tolist(), rows.tolist(), strict=True):
                    value = array[row]
                    whole[place] = value.copy() if isinstance(value, np.ndarray) else value  # Arrow's memory is read only
        found[column] = whole
    return Columns(found)


def ragged(columns: Columns) -> bool:
    """Has a column rows of several shapes?"""
    return any(array.dtype == object and any(isinstance(row, np.ndarray) for row in array) for array in columns.arrays.values())
