"""Bringing members of a generation to one state: the one that is ahead sends, whoever is behind or new takes."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from disttrain.collectives import Group, Pending
from disttrain.training.step.replica import Replica, StateDict

# What is under way at a time need not be as large as the state: memory of the host beside a GPU, and the time until the next beat.
PIECE_BYTES = 64 << 20
_UNDER_WAY = 2  # pieces: while one is sent, the next is made ready


def share_state(replica: Replica, group: Group, source: int, behind: Sequence[bool], progressed: Callable[[], None] = lambda: None) -> None:
    """Copy the state of rank `source` to the ranks that are `behind`; every member calls this with the same arguments.

    `progressed` is called after each piece.

    What arrives goes into memory of its own first: should the group break half way, the state here is still whole.
    Step n has one possible result, so rolling a laggard forward to it is always right.
    """
    if group.size == 1 or not any(flag for rank, flag in enumerate(behind) if rank != source):
        return
    sending, taking = group.rank == source, behind[group.rank] and group.rank != source
    packed = json.dumps(dict(replica.state_dict().meta)).encode() if sending else b""
    length = torch.tensor([len(packed)], dtype=torch.int64, device=replica.device)
    group.broadcast(length, source).wait()
    meta = torch.zeros(int(length), dtype=torch.uint8, device=replica.device)
    if sending:
        meta.copy_(torch.frombuffer(bytearray(packed), dtype=torch.uint8))
    group.broadcast(meta, source).wait()
    arrived = []
    for tensor in replica.flat_state():
        if not tensor.numel():
            continue
        flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)  # which copies nothing that lies in its order
        message = flat if sending else torch.empty_like(flat) if taking else flat[:0]
        _send(group, message, flat.numel(), source, progressed)
        if taking:
            arrived.append((tensor, message))
    if not taking:
        return
    with torch.no_grad():
        for tensor, message in arrived:
            tensor.copy_(message.view(tensor.dtype).view(tensor.shape))
    replica.load_state_dict(StateDict({}, json.loads(bytes(meta.cpu().numpy()))), strict=False)


def _send(group: Group, message: Tensor, nbytes: int, source: int, progressed: Callable[[], None]) -> None:
    """Bring `message`, of `nbytes` bytes, from `source` to everybody, piece by piece; who has none of it lets the pieces pass by."""
    under_way: deque[Pending] = deque()
    passing = message.new_empty(min(nbytes, PIECE_BYTES)) if not message.numel() else None
    for start in range(0, nbytes, PIECE_BYTES):
        size = min(PIECE_BYTES, nbytes - start)
        if passing is not None:  # one piece at a time: they all go to the same place
            group.broadcast(passing[:size], source).wait()
            progressed()
            continue
        under_way.append(group.broadcast(message[start : start + size], source))
        if len(under_way) >= _UNDER_WAY:
            under_way.popleft().wait()
            progressed()
    for pending in under_way:
        pending.wait()
        progressed()
