"""Bringing members of a generation to one state: the one that is ahead sends, whoever is behind or new takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import torch

from disttrain.collectives import Group
from disttrain.training.step.replica import Replica, StateDict


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
        flat = (
            tensor.detach().reshape(-1).view(torch.uint8)
            if tensor.is_contiguous()
            else tensor.detach().contiguous().reshape(-1).view(torch.uint8)
        )
        message = flat if sending else torch.empty_like(flat)
        group.broadcast(message, source).wait()
        progressed()
        if taking:
            arrived.append((tensor, message))
    if not taking:
        return
    with torch.no_grad():
        for tensor, message in arrived:
            tensor.copy_(message.view(tensor.dtype).view(tensor.shape))
    replica.load_state_dict(StateDict({}, json.loads(bytes(meta.cpu().numpy()))), strict=False)
