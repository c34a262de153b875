"""A worker's part of a state that lies on a device: sliced there, and that alone is copied, into memory that the device fills fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from disttrain.checkpoint import Arena, Piece, Snapshot, TensorSpec, room_for
from disttrain.checkpoint.arrays import Bytes
from disttrain.collectives.copies import Copies, Done, copies_of
from disttrain.host_numbers import bytes_of


def arena_for(device: torch.device) -> Arena:
    """Memory for snapshots of tensors that lie there: pinned where the device is CUDA's."""
    return Arena(_pinned) if device.type == "cuda" else Arena()


def device_snapshot(
    tensors: Mapping[str, Tensor], specs: Mapping[str, TensorSpec], pieces: Sequence[Piece], arena: Arena,
    copies: Copies | None = None, free: int = 0,
) -> tuple[Snapshot, Callable[[], None]]:  # fmt: skip
    """Begin to copy `pieces` of `tensors`, which may change when this returns, into `arena`; raises what `room_for` raises.

    Where the device has room for the share twice, it sets it aside and sends it beside what it does next; else that is waited for here.

    Args:
        copies: how the device copies.
        free: so many bytes are free there.

    Returns:
        (the snapshot, what returns once its bytes are there; any thread may call it).
    """
    shot = room_for(specs, pieces, arena)
    beside = 2 * shot.data.size <= free
    under_way: list[Done] = []
    for piece, spec, place in shot.places():
        tensor = tensors[spec.name].detach()
        rows = tensor[piece.row_start : piece.row_stop] if tensor.ndim else tensor
        if rows.numel():
            copies = copies or copies_of(rows.device)
            rows = rows.clone() if beside else rows
            under_way.append(copies.down(torch.from_numpy(place), bytes_of(rows)))

    def arrived() -> None:
        for copy in under_way:
            copy.wait()

    if not beside:
        arrived()
    return shot, arrived


def _pinned(nbytes: int) -> Bytes:
    memory: Bytes = torch.empty(nbytes, dtype=torch.uint8, pin_memory=True).numpy()
    return memory
