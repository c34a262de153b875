"""Arrays that lie on the device for a whole call, where they fit: a batch is put together there, and no sample is copied up in a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from disttrain.data.sources import ArraySource, Batch, RangeSource, Source
from disttrain.data.structure import flatten, map_structure

_SHARE = 0.1  # of the memory that is free: the rest is for what a step needs, and for whoever shares the device

Key = TypeVar("Key")


def fits(nbytes: int, free: int) -> bool:
    """May arrays of so many bytes lie on a device of which so many are free?"""
    return nbytes <= free * _SHARE


def residing(sources: Mapping[Key, Any], device: torch.device, free: int | None) -> dict[Key, Any]:
    """`sources`, those of arrays on the device if all that they hold fits there; what several share lies there once.

    Args:
        free: bytes of the device; None for one whose memory is the host's.
    """
    held = {id(part): part for source in sources.values() if (part := _arrays_of(source)) is not None}
    if free is None or not held or not fits(sum(_nbytes(part) for part in held.values()), free):
        return dict(sources)
    there = {key: ResidentArrays(part, device) for key, part in held.items()}
    return {key: _moved(source, there) for key, source in sources.items()}


class ResidentArrays:
    """The samples of an `ArraySource`, on a device: the same values in fresh tensors, so the same bits as those that were copied up."""

    draws = False

    def __init__(self, source: ArraySource, device: torch.device) -> None:
        self._length, self._device = len(source), device
        self._parts = tuple(map_structure(lambda tensor: tensor.to(device), part) for part in source.as_tensors())

    def __len__(self) -> int:
        return self._length

    def fetch(self, indices: NDArray[np.int64], key: int) -> Batch:
        rows = torch.from_numpy(np.ascontiguousarray(indices)).to(self._device, non_blocking=True)
        return self._each(lambda tensor: tensor.index_select(0, rows))

    def fetch_run(self, first: int, stop: int) -> Batch:
        """The samples [first, stop)."""
        return self._each(lambda tensor: tensor[first:stop].clone(memory_format=torch.contiguous_format))

    def _each(self, work: Callable[[Tensor], Tensor]) -> Batch:
        x, y, weight = (map_structure(work, part) for part in self._parts)
        return x, y, weight


def _arrays_of(source: Source) -> ArraySource | None:
    inner = source.source if type(source) is RangeSource else source
    return inner if type(inner) is ArraySource and not inner.wide else None  # files in float64 become float32 row by row


def _moved(source: Any, there: Mapping[int, ResidentArrays]) -> Any:
    arrays = _arrays_of(source)
    if arrays is None:
        return source
    resident = there[id(arrays)]
    return RangeSource(resident, source.start, source.stop) if type(source) is RangeSource else resident


def _nbytes(source: ArraySource) -> int:
    return sum(array.nbytes for part in (source.x, source.y, source.sample_weight) for array in flatten(part))
