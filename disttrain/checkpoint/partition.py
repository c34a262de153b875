"""Who writes what: tensors cut over N writers by bytes. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from disttrain.checkpoint.arrays import TensorSpec


@dataclass(frozen=True, slots=True, order=True)
class Piece:
    """Rows `row_start` to `row_stop` (not included) of a tensor, along axis 0. A scalar is one row; a tensor without rows is (0, 0)."""

    tensor: str
    row_start: int
    row_stop: int


def split(specs: Iterable[TensorSpec], writers: int) -> list[list[Piece]]:
    """The pieces of each of `writers` writers.

    The tensors, sorted by name, stand on one line of bytes that is cut at k/N of its length, each cut moved down to the start of a row.
    So a share differs from 1/N by less than the longest row, and there are at most N - 1 pieces more than tensors. Tensors without
    bytes go to writer 0. The same specs give the same cut in any order.

    Raises:
        ValueError: no writer, or two tensors of one name.
    """
    if writers < 1:
        raise ValueError(f"split(writers={writers}): expected 1 or more.")
    ordered = sorted(specs, key=lambda spec: spec.name)
    for one, other in pairwise(ordered):
        if one.name == other.name:
            raise ValueError(f"two tensors are named {one.name!r}: expected each name once.")
    total = sum(spec.nbytes for spec in ordered)
    shares: list[list[Piece]] = [
        [Piece(spec.name, 0, spec.rows) for spec in ordered if spec.nbytes == 0],
        *([] for _ in range(writers - 1)),
    ]
    position, writer = 0, 0
    for spec in ordered:
        if spec.nbytes == 0:
            continue
        row = 0
        while row < spec.rows:
            share_end = total * (writer + 1) // writers
            stop = min(spec.rows, (share_end - position) // spec.row_bytes)
            if writer == writers - 1:
                stop = spec.rows
            if stop > row:
                shares[writer].append(Piece(spec.name, row, stop))
                row = stop
            if row < spec.rows:
                writer += 1
        position += spec.nbytes
    return shares


@dataclass(frozen=True, slots=True)
class Tiling:
    """What keeps pieces from covering every tensor exactly once, in words; both empty when they do."""

    holes: tuple[str, ...]
    overlaps: tuple[str, ...]


def check_tiling(specs: Sequence[TensorSpec], pieces: Iterable[Piece]) -> Tiling:
    """Whether `pieces` cover each row of each tensor of `specs` once and name no other."""
    by_tensor: dict[str, list[Piece]] = defaultdict(list)
    for piece in pieces:
        by_tensor[piece.tensor].append(piece)
    holes: list[str] = []
    overlaps: list[str] = []
    for spec in specs:
        mine = sorted(by_tensor.pop(spec.name, []))
        if not mine:
            holes.append(f"{spec.name} is missing")
            continue
        covered = 0
        for index, piece in enumerate(mine):
            rows = f"{spec.name} rows {piece.row_start} to {piece.row_stop}"
            if piece.row_start > covered:
                holes.append(f"{spec.name} rows {covered} to {piece.row_start} are missing")
            elif piece.row_start < covered or (index > 0 and piece.row_stop <= covered):
                overlaps.append(f"{rows} are there twice")
            if piece.row_stop > spec.rows:
                overlaps.append(f"{rows}, of {spec.rows}, do not exist")
            elif piece.row_stop < piece.row_start or (piece.row_stop == piece.row_start and spec.rows > 0):
                overlaps.append(f"{rows} hold nothing")
            covered = max(covered, piece.row_stop)
        if covered < spec.rows:
            holes.append(f"{spec.name} rows {covered} to {spec.rows} are missing")
    overlaps.extend(f"{name} is no tensor of this checkpoint" for name in by_tensor)
    return Tiling(tuple(holes), tuple(overlaps))
