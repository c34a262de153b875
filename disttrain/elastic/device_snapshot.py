"""A worker's part of a state that lies on a device: sliced there, and that alone is copied, into memory that the device fills fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from disttrain.checkpoint import Arena, Piece, Snapshot, TensorSpec, room_for
from disttrain.checkpoint.arrays import Bytes
from disttrain.host_numbers import bytes_of


def arena_for(device: torch.device) -> Arena:
    """Memory for snapshots of tensors that lie there: pinned where the device is CUDA's."""
    return Arena(_pinned) if device.type == "cuda" else Arena()


def device_snapshot(tensors: Mapping[str, Tensor], specs: Mapping[str, TensorSpec], pieces: Sequence[Piece], arena: Arena) -> Snapshot:
    """Copy `pieces` of `tensors` into `arena`. Returns when they are there; raises what `room_for` raises."""
    shot = room_for(specs, pieces, arena)
    devices = set()
    for piece, spec, place in shot.places():
        tensor = tensors[spec.name].detach()
        rows = tensor[piece.row_start : piece.row_stop] if tensor.ndim else tensor
        if rows.numel():
            devices.add(rows.device)
            torch.from_numpy(place).copy_(bytes_of(rows), non_blocking=True)
    for device in devices:
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()
    return shot


def _pinned(nbytes: int) -> Bytes:
    memory: Bytes = torch.empty(nbytes, dtype=torch.uint8, pin_memory=True).numpy()
    return memory
