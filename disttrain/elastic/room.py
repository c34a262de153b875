"""Room on a GPU: a worker that was killed a moment ago may hold its memory still, and whoever takes its place waits until that is free."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from disttrain.clock import Clock
from disttrain.devices.faults import Fault, fault_of
from disttrain.devices.memory import DeviceMemory
from disttrain.training import device_memory

T = TypeVar("T")
ROOM_S = 60.0  # the driver takes a dead process's memory back within seconds; a GPU that it cannot reset keeps it for ever
_LOOK_S = 0.5
_NEVER = threading.Event()
_MORE_BYTES = 64 << 20


def with_room(
    work: Callable[[], T], device: str, clock: Clock, *, limit_s: float = ROOM_S, pause: Callable[[float], Any] = _NEVER.wait,
    read: Callable[[torch.device], DeviceMemory | None] | None = None,
) -> T:  # fmt: skip
    """What `work` gives; done again where it ran out of a GPU's memory, another process holds some, and more is free than then.

    Args:
        limit_s: so long for all of it.
        pause, read: lets time pass; how full a GPU is.

    Raises:
        Exception: what `work` raised, where nobody else holds memory, or nobody has let go of any in time.
    """
    read = read or device_memory.read_memory
    began = clock.monotonic_s()
    while True:
        try:
            return work()
        except Exception as error:
            if device == "cpu" or fault_of(error) is not Fault.MEMORY:
                raise
            found = read(torch.device(device, 0))
            if found is None or not found.others_hold:
                raise
            error.__traceback__ = None  # its frames hold what was laid out so far
            failed = error
        if not _waited(torch.device(device, 0), began + limit_s, clock, pause, read):
            raise failed


def _waited(
    device: torch.device, until_s: float, clock: Clock, pause: Callable[[float], Any], read: Callable[[torch.device], DeviceMemory | None]
) -> bool:  # fmt: skip
    """Wait while another process holds memory; is there more free than there was?"""
    device_memory.let_go_of_memory(device)
    first = read(device)
    if first is None:
        return False
    while clock.monotonic_s() < until_s:
        pause(_LOOK_S)
        now = read(device)
        if now is not None and now.free >= first.free + _MORE_BYTES:
            return True
    return False
