"""Maps of numbers as one message: a JSON header, then a byte for each number."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

_LEVELS = 255
_NARROW, _WIDE = 1e-30, 1e38  # ranges outside which 255 / range, or the range itself, leaves float32


class ViewError(ValueError):
    """What was asked for cannot be shown; the message is for the reader of the page."""


@dataclass
class Packed:
    """What a view shows.

    Args:
        header: see `pack`; JSON types only.
        data: (count, height, width) or (count, height, width, 3), uint8 or float32.
    """

    header: dict[str, Any]
    data: np.ndarray

    def to_bytes(self) -> bytes:
        """The length of the header as a little-endian uint32, the header, zeros up to a multiple of 4 bytes, the data."""
        header = json.dumps(self.header, allow_nan=False, separators=(",", ":")).encode()
        start = struct.pack("<I", len(header)) + header
        data = self.data.astype(self.data.dtype.newbyteorder("<"), copy=False)
        return b"".join((start, bytes(-len(start) % 4), np.ascontiguousarray(data).tobytes()))


def pack(
    maps: np.ndarray,
    *,
    layer: str,
    view: str,
    form: str,
    shape: tuple[int, ...],
    axes: list[str],
    total: int | None = None,
    start: int = 0,
    labels: list[str] | None = None,
    exact: bool = False,
    message: str | None = None,
) -> Packed:
    """Maps (count, height, width), or (count, height, width, 3) for pictures, with their header.

    Args:
        form: "maps", "lines", "heatmap", "bars" or "pictures".
        shape: of the whole array that the maps are part of.
        axes: what its axes are called; of heat maps the last two are what goes down and what goes across.
        total: how many maps there are, of which these begin at `start`.
        labels: a name for each of these maps.
        exact: float32 values as they are, instead of a byte for each between the map's minimum and maximum.
        message: what a reader should know about these maps.
    """
    maps = np.asarray(maps, dtype=np.float32)
    count, height, width = maps.shape[:3]
    data, lowest, highest, strange = _measured(maps.reshape(count, math.prod(maps.shape[1:])), exact)
    if strange:
        note = f"{strange} of {maps.size} values are infinite or not a number" + ("." if exact else "; they are shown as the minimum.")
        message = note if message is None else f"{message} {note}"
    header = {
        "layer": layer,
        "checkpoint": None,
        "view": view,
        "form": form,
        "shape": [int(size) for size in shape],
        "total": count if total is None else total,
        "start": start,
        "count": count,
        "height": height,
        "width": width,
        "channels": 3 if maps.ndim == 4 else 1,
        "labels": labels,
        "minimum": lowest.tolist(),
        "maximum": highest.tolist(),
        "dtype": "float32" if exact else "uint8",
        "axes": axes,
        "message": message,
    }
    return Packed(header, data.reshape(maps.shape))


def _measured(rows: np.ndarray, exact: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """(the rows, as bytes unless `exact`; the minimum of each; the maximum; how many values are not finite)."""
    if not rows.size:
        none = np.zeros(len(rows))
        return rows if exact else rows.astype(np.uint8), none, none, 0
    lowest, highest, strange, shown = rows.min(1), rows.max(1), 0, rows
    if not (np.isfinite(lowest).all() and np.isfinite(highest).all()):  # a NaN or an infinity shows in one of the two
        bad = ~np.isfinite(rows)
        strange = int(bad.sum())
        lowest = np.where(bad, np.inf, rows).min(1)
        highest = np.where(bad, -np.inf, rows).max(1)
        nothing = bad.all(1)
        lowest, highest = np.where(nothing, 0.0, lowest), np.where(nothing, 0.0, highest)
        shown = np.where(bad, lowest[:, None], rows)
    lowest, highest = lowest.astype(np.float64), highest.astype(np.float64)
    if exact:
        return rows, lowest, highest, strange
    ranges = highest - lowest
    known = ranges > 0
    dtype = np.float32 if not known.any() or (ranges[known].min() > _NARROW and ranges.max() < _WIDE) else np.float64
    factors = np.divide(_LEVELS, ranges, out=np.zeros_like(ranges), where=known)
    scaled = np.subtract(shown, lowest.astype(dtype)[:, None], dtype=dtype)
    scaled *= factors.astype(dtype)[:, None]
    np.rint(scaled, out=scaled)
    return np.clip(scaled, 0, _LEVELS, out=scaled).astype(np.uint8), lowest, highest, strange
