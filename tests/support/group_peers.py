"""The other member of a torch group, in a process of its own that a test can kill or stop; and what the test's own process holds."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch

from disttrain.collectives.run_store import RunStore
from disttrain.collectives.store_server import StoreAddress
from disttrain.collectives.torch_group import TorchGroup

FLOATS = 1 << 20  # of each member in each operation: 4 MB
LETTING_GO = "let-go-of-group"


def join(
    store: StoreAddress, generation: str, rank: int, size: int, aborted: threading.Event | None = None, patience_s: float = 0.2
) -> TorchGroup:
    """A member of a group on this machine. Little patience: what a cut leaves in the middle of a message ends after a few seconds."""
    flag = aborted or threading.Event()
    return TorchGroup(RunStore(store), generation, rank, size, "127.0.0.1", flag, patience_s=patience_s)


def begin_two_large_operations(group: TorchGroup) -> list[Any]:
    size = group.size
    gather = group.all_gather(torch.empty(size * FLOATS), torch.ones(FLOATS))
    swap = group.all_to_all(torch.empty(size * FLOATS), torch.ones(size * FLOATS), [FLOATS] * size, [FLOATS] * size)
    return [gather, swap]


def meet_once(group: TorchGroup) -> None:
    """One small operation: afterwards every member is known to have formed."""
    group.all_gather(torch.empty(group.size), torch.ones(1)).wait()


def strike_in_the_middle(store: StoreAddress, generation: str, rank: int, size: int, number: int) -> None:
    """Form, begin to send, and send oneself the signal `number`."""
    group = join(store, generation, rank, size)
    meet_once(group)
    under_way = begin_two_large_operations(group)
    os.kill(os.getpid(), number)
    signal.pause()
    del under_way


def form_and_be_late(store: StoreAddress, generation: str, rank: int, size: int) -> None:
    """Form, and never come to an operation."""
    group = join(store, generation, rank, size)
    signal.pause()
    del group


@contextmanager
def peers(target: Callable[..., None], ranks: range, *arguments: Any) -> Iterator[list[Any]]:
    """`target(store, generation, rank, size, ...)` in a process for each rank; killed at the end."""
    context = multiprocessing.get_context("forkserver")  # which imports torch once, not once for each process
    context.set_forkserver_preload(["disttrain.collectives.torch_group"])
    store, generation, size, *rest = arguments
    processes = [context.Process(target=target, args=(store, generation, rank, size, *rest), daemon=True) for rank in ranks]
    for process in processes:
        process.start()
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.join()
            process.close()


class _Mallinfo(ctypes.Structure):
    """What malloc holds, of all its arenas; see `man mallinfo2`."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    ]


def held() -> tuple[int, int, float]:
    """Threads, open files, and megabytes of malloc in use in this process, once nothing is being let go of any more.

    In use, not resident: glibc keeps freed memory for each of its arenas, more or less as it happens.
    """
    for thread in threading.enumerate():
        if thread.name == LETTING_GO:
            thread.join()
    mallinfo2 = ctypes.CDLL("libc.so.6").mallinfo2
    mallinfo2.restype = _Mallinfo
    memory, process = mallinfo2(), psutil.Process()
    return process.num_threads(), process.num_fds(), (memory.uordblks + memory.hblkhd) / 1e6
