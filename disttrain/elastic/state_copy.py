"""A rank's share of a state, copied out of the few flat tensors that it lies in: long copies, however many tensors there are."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from disttrain.checkpoint import Arena, Snapshot, TensorSpec, in_file_order, split
from disttrain.host_numbers import bytes_of
from disttrain.training.step.named_arrays import spec_of
from disttrain.training.step.replica import StateDict
from disttrain.training.step.state_digest import StateDigest, digest_of_bytes

_GAP_BYTES = 8 << 10  # what lies between two pieces is copied too, up to here: to begin another copy costs as much
_SMALL_BYTES = 4 << 10  # tensors below, on average, take longer to hash one by one than to copy
_ALIGN_BYTES = 64


@dataclass(frozen=True, slots=True)
class _Place:
    """Bytes `start` to `stop` of memory number `memory` of a plan."""

    memory: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Copied:
    """A share of a state as it was; `snapshot` is released by whoever writes it.

    Attributes:
        snapshot: the pieces of the rank.
        specs: all tensors of the state.
        arrived: returns once the bytes of the snapshot are there; before, nobody reads them.
    """

    snapshot: Snapshot
    specs: list[TensorSpec]
    _digest: StateDigest | None
    _wholes: tuple[int, ...] = ()
    _meta: Mapping[str, Any] = field(default_factory=dict)
    arrived: Callable[[], None] = lambda: None

    def digest(self) -> StateDigest:
        """That of the whole state; while the snapshot is not released. Any thread may ask."""
        if self._digest is not None:
            return self._digest
        data = self.snapshot.data.data
        return digest_of_bytes(
            {spec.name: data[at : at + spec.nbytes] for spec, at in zip(self.specs, self._wholes, strict=True)}, self._meta
        )


class StateCopier:
    """Copies from the host's memory into an arena that is kept, by a plan that is kept while the state lies as it did.

    The arena takes the rank's share, and what lies in gaps of up to 8 KiB. It takes the whole state where tensors have less than 4 KiB on
    average: then their digests are computed from the copy, beside the training, instead of before it goes on.
    """

    def __init__(self) -> None:
        self._arena = Arena()
        self._plan: _Plan | None = None

    def copy(self, state: StateDict, rank: int, size: int) -> Copied:
        """The share of `rank` of `size`; the state may change when this returns.

        Raises:
            RuntimeError: the copy before is not released.
        """
        plan = self._plan
        if plan is None or not plan.holds(state.tensors, rank, size):
            self._plan = None  # first: it may be large
            plan = self._plan = _Plan(state.tensors, rank, size)
        memories = plan.memories(state.tensors)
        data = self._arena.take(plan.nbytes)
        try:
            for place, at in plan.runs:
                np.copyto(data[at : at + place.stop - place.start], memories[place.memory][place.start : place.stop])
            digest = None if plan.whole else plan.digest(memories, state.meta)
        except BaseException:
            self._arena.give_back()
            raise
        return Copied(Snapshot(plan.entries, data, plan.offsets, self._arena), plan.specs, digest, plan.wholes, dict(state.meta))


class _Plan:
    """Where the tensors of a state lie, and which runs of bytes hold the share of a rank.

    Keeps no tensor: the state may be laid out anew meanwhile, and its memory must go then.
    """

    def __init__(self, tensors: Mapping[str, Tensor], rank: int, size: int) -> None:
        self._names, self._places, self._rank, self._size = list(tensors), _places(tensors), rank, size
        self.specs = [spec_of(name, tensor) for name, tensor in tensors.items()]
        self._owners: list[tuple[str, bool]] = []  # of each memory: a tensor that lies in it, and whether it lies there alone, unordered
        self._where = self._find(tensors)
        specs = {spec.name: spec for spec in self.specs}
        self.entries = in_file_order((piece, specs[piece.tensor]) for piece in split(self.specs, size)[rank])
        total = sum(spec.nbytes for spec in self.specs)
        self.whole = total < _SMALL_BYTES * len(self.specs)
        where = dict(zip(self._names, self._where, strict=True))
        own = []
        for piece, spec in self.entries:
            first, row = where[spec.name], spec.row_bytes
            own.append(_Place(first.memory, first.start + piece.row_start * row, first.start + piece.row_stop * row))
        self.runs, self.nbytes = _runs(self._where if self.whole else own)
        self.offsets = _offsets(own, self.runs)
        self.wholes = _offsets(self._where, self.runs) if self.whole else ()

    def holds(self, tensors: Mapping[str, Tensor], rank: int, size: int) -> bool:
        """Does the state lie as it did?"""
        return (rank, size) == (self._rank, self._size) and list(tensors) == self._names and _places(tensors) == self._places

    def memories(self, tensors: Mapping[str, Tensor]) -> list[NDArray[np.uint8]]:
        """The bytes of each memory."""
        return [(bytes_of(tensors[name]) if alone else _storage(tensors[name])).numpy() for name, alone in self._owners]

    def digest(self, memories: list[NDArray[np.uint8]], meta: Mapping[str, Any]) -> StateDigest:
        """Of the state as it lies."""
        views = [memory.data for memory in memories]
        places = zip(self._names, self._where, strict=True)
        return digest_of_bytes({name: views[place.memory][place.start : place.stop] for name, place in places}, meta)

    def _find(self, tensors: Mapping[str, Tensor]) -> list[_Place]:
        numbers: dict[int, int] = {}
        found = []
        for (name, tensor), spec in zip(tensors.items(), self.specs, strict=True):
            if tensor.is_contiguous() and not tensor.is_conj() and not tensor.is_neg() and spec.nbytes:
                storage = tensor.untyped_storage()
                key, start = storage.data_ptr(), int(tensor.storage_offset()) * tensor.itemsize
            else:
                key, start = -len(self._owners) - 1, 0
            if key not in numbers:
                numbers[key] = len(self._owners)
                self._owners.append((name, key < 0))
            found.append(_Place(numbers[key], start, start + spec.nbytes))
        return found


def _places(tensors: Mapping[str, Tensor]) -> list[Any]:
    return [(tensor.data_ptr(), tensor.shape, tensor.dtype) for tensor in tensors.values()]


def _storage(tensor: Tensor) -> Tensor:
    """All bytes of the memory that a tensor lies in."""
    return torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())


def _runs(places: list[_Place]) -> tuple[list[tuple[_Place, int]], int]:
    """Few places that cover these, and where in the arena each goes; and the bytes that takes."""
    merged: list[_Place] = []
    for place in sorted(places, key=lambda place: (place.memory, place.start)):
        last = merged[-1] if merged else None
        if last is not None and last.memory == place.memory and place.start - last.stop <= _GAP_BYTES:
            merged[-1] = _Place(last.memory, last.start, max(last.stop, place.stop))
        elif place.stop > place.start:
            merged.append(place)
    at, runs = 0, []
    for place in merged:
        runs.append((place, at))
        at += -(-(place.stop - place.start) // _ALIGN_BYTES) * _ALIGN_BYTES
    return runs, at


def _offsets(places: list[_Place], runs: list[tuple[_Place, int]]) -> tuple[int, ...]:
    """Where in the arena the bytes of each place begin."""
    starts = [(run.memory, run.start) for run, _ in runs]
    found = []
    for place in places:
        if place.start == place.stop:
            found.append(0)
            continue
        run, at = runs[bisect_right(starts, (place.memory, place.start)) - 1]
        found.append(at + place.start - run.start)
    return tuple(found)
