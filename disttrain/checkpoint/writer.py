"""One worker's part of a save: copy its pieces into a kept arena (the stall), then write them from there in the background."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from types import TracebackType

import numpy as np

from disttrain.checkpoint.arrays import DTYPES, Bytes, NamedArray, TensorSpec
from disttrain.checkpoint.messages import nearest_first, some
from disttrain.checkpoint.partition import Piece
from disttrain.checkpoint.shards import PieceReport, ShardReport, digest_of, header, piece_bytes
from disttrain.checkpoint.store import Store


class Arena:
    """Page-aligned memory kept from save to save: a copy into fresh memory takes 2.4 times as long, for the page faults.

    It grows to the largest snapshot so far, and holds one at a time. Nothing is allocated before the first.

    Args:
        allocate: gives so many bytes of memory, such as some that a device copies into at full speed; pages of its own unless told.
    """

    def __init__(self, allocate: Callable[[int], Bytes] | None = None) -> None:
        self._allocate = allocate or _pages
        self._memory: Bytes = np.empty(0, np.uint8)
        self.in_use = False

    def take(self, nbytes: int) -> Bytes:
        """The first `nbytes` bytes, until `give_back`."""
        if self.in_use:
            raise RuntimeError("the arena holds a snapshot that is not released: write it, then release it, before the next.")
        if nbytes > self._memory.size:
            self._memory = np.empty(0, np.uint8)  # let go of first: the two need not be there at the same time
            self._memory = self._allocate(nbytes)
        self.in_use = True
        return self._memory[:nbytes]

    def give_back(self) -> None:
        """Let the next snapshot overwrite this one."""
        self.in_use = False


def _pages(nbytes: int) -> Bytes:
    memory = mmap.mmap(-1, nbytes)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # kernels built without it
            memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8)


_JOINED_BYTES = 1 << 16  # chunks below are joined: a call for each costs more than the copy


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A worker's pieces at one step, unmoved by what training does next. A `with` block, or `release`, frees the arena.

    Attributes:
        entries: the pieces, in the order of the file.
        data: what was copied, as it lies in the arena.
        offsets: where in `data` the bytes of each entry begin.
        arena: what `data` is a part of.
    """

    entries: tuple[tuple[Piece, TensorSpec], ...]
    data: Bytes
    offsets: tuple[int, ...]
    arena: Arena

    def places(self) -> Iterator[tuple[Piece, TensorSpec, Bytes]]:
        """Each piece, the tensor it is of, and where its bytes are."""
        for (piece, spec), at in zip(self.entries, self.offsets, strict=True):
            yield piece, spec, self.data[at : at + piece_bytes(piece, spec)]

    def chunks(self) -> list[bytes | memoryview]:
        """All bytes, in the order of the file, in few parts."""
        runs: list[list[int]] = []
        for (piece, spec), at in zip(self.entries, self.offsets, strict=True):
            nbytes = piece_bytes(piece, spec)
            if runs and runs[-1][1] == at:
                runs[-1][1] += nbytes
            elif nbytes:
                runs.append([at, at + nbytes])
        data = self.data.data
        chunks: list[bytes | memoryview] = []
        small: list[memoryview] = []
        for start, stop in runs:
            if stop - start >= _JOINED_BYTES:
                chunks += [b"".join(small)] if small else []
                chunks.append(data[start:stop])
                small = []
            else:
                small.append(data[start:stop])
        return [*chunks, *([b"".join(small)] if small else [])]

    def release(self) -> None:
        """Free the arena; `data` is not to be used after it."""
        self.arena.give_back()

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def in_file_order(entries: Iterable[tuple[Piece, TensorSpec]]) -> tuple[tuple[Piece, TensorSpec], ...]:
    """Widest elements first: that keeps every piece aligned to its element, without gaps, which safetensors forbids."""
    return tuple(sorted(entries, key=lambda entry: (-_element_bytes(entry[1]), entry[0])))


def room_for(specs: Mapping[str, TensorSpec], pieces: Sequence[Piece], arena: Arena) -> Snapshot:
    """A snapshot of `pieces` whose bytes are yet to be written, each to its place in `places`.

    Raises:
        ValueError: a piece names no tensor, or rows that it lacks.
        RuntimeError: the arena still holds another snapshot.
    """
    for piece in pieces:
        if piece.tensor not in specs:
            raise ValueError(
                f"a piece names the tensor {piece.tensor!r}, which is not among the arrays; nearest: "
                f"{some(nearest_first(piece.tensor, specs)) or 'there are none'}."
            )
        rows = specs[piece.tensor].rows
        if not 0 <= piece.row_start <= piece.row_stop <= rows:
            raise ValueError(f"{piece}: expected rows from 0 to {rows}, the length of {piece.tensor!r}.")
    entries = in_file_order((piece, specs[piece.tensor]) for piece in pieces)
    *offsets, nbytes = accumulate((piece_bytes(piece, spec) for piece, spec in entries), initial=0)
    return Snapshot(entries, arena.take(nbytes), tuple(offsets), arena)


def snapshot(arrays: Mapping[str, NamedArray], pieces: Sequence[Piece], arena: Arena) -> Snapshot:
    """Copy `pieces` of `arrays` into `arena`: the only part of a save that training waits for. Raises what `room_for` raises."""
    shot = room_for({name: array.spec(name) for name, array in arrays.items()}, pieces, arena)
    for piece, spec, place in shot.places():
        np.copyto(place, arrays[spec.name].data[piece.row_start * spec.row_bytes : piece.row_stop * spec.row_bytes])
    return shot


def write_shard(store: Store, path: str, snapshot: Snapshot) -> ShardReport:
    """Write a snapshot as a safetensors file and say where each piece lies. May run in any thread; hashing and writing free the GIL.

    Args:
        store: where to.
        path: from `layout.shard_path`, under a folder of this save alone.
        snapshot: stays as it is; release it afterwards.

    Raises:
        RunUnwritable, OSError: it could not be written; nothing is left of it.
        FileExistsError: `path` was used before.
    """
    head = header(snapshot.entries)
    reports: list[PieceReport] = []
    at = len(head)
    for piece, _, place in snapshot.places():
        reports.append(PieceReport(piece, at, place.size, digest_of(place.data)))
        at += place.size
    report = ShardReport(path, at, len(head), digest_of(head), tuple(reports))
    store.write_file(path, [head, *snapshot.chunks()])
    return report


def _element_bytes(spec: TensorSpec) -> int:
    dtype = DTYPES[spec.dtype]
    return dtype.item_bytes // 2 if dtype.is_paired else dtype.item_bytes
