"""Where the members of a generation meet: the driver's store, and torch's process groups over it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from disttrain.collectives import Group, GroupBroken
from disttrain.elastic import messages as m
from disttrain.elastic.interfaces import interface_of

if TYPE_CHECKING:
    from disttrain.collectives.run_store import RunStore


def torch_group(command: m.Form, rank: int, device: torch.device, aborted: threading.Event, end_process: Callable[[str], None]) -> Group:
    """The generation as a torch process group, met through the store of the run.

    Each generation has a connection of its own: a forming that was given up goes on waiting inside the one it has.

    Args:
        device: what the tensors of this member lie on.
        aborted: raised by another thread to make every wait end.
        end_process: ends this process where nothing else lets go of a GPU.
    """
    from disttrain.collectives.run_store import RunStore  # late: a worker alone needs no sockets

    assert command.store is not None
    where = f"{command.store.host}:{command.store.port}"
    try:
        host, store = _own_address(command.store.host), RunStore(command.store)
    except (RuntimeError, OSError) as error:
        raise GroupBroken(f"the store of the run at {where} cannot be reached: {error}") from error
    generation, size = f"c{command.call}g{command.generation}", len(command.members)
    try:
        if command.transport == "nccl":
            return _nccl_group(store, generation, rank, size, host, device, aborted, end_process)
        return _host_group(store, generation, rank, size, host, device, aborted)
    except OSError as error:  # no port, no descriptor: nothing that the script's code has done
        store.close()
        raise GroupBroken(f"the group could not be formed: {error}") from error


def _host_group(store: RunStore, generation: str, rank: int, size: int, host: str, device: torch.device, aborted: threading.Event) -> Group:
    from disttrain.collectives.torch_group import TorchGroup  # late: a worker alone needs no sockets

    group = TorchGroup(store, generation, rank, size, host, aborted)
    if device.type == "cpu":
        return group
    from disttrain.collectives.staged_group import StagedGroup, Staging  # late: where there are GPUs

    return StagedGroup(group, Staging(device))


def _nccl_group(
    store: RunStore, generation: str, rank: int, size: int, host: str, device: torch.device, aborted: threading.Event,
    end_process: Callable[[str], None],
) -> Group:  # fmt: skip
    from disttrain.collectives.nccl_group import NcclGroup  # late: where there are GPUs

    interface = interface_of(host)
    return NcclGroup(store, generation, rank, size, host, device, aborted, interface=interface, end_process=end_process)


def _own_address(towards: str) -> str:
    """The address of this machine on the way to `towards`; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((towards, 9))
        return str(probe.getsockname()[0])
