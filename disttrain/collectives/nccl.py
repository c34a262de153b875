"""What the runtime uses of torch's NCCL process group, and the environment that it must find.

Found by reading torch 2.13 (`ProcessGroupNCCL`, `NCCLUtils`); no GPU was at hand, `tests/support/nccl_like` behaves as described here:

- `Work.wait` orders streams. With a time limit it blocks, counts from the *issue* of the operation, and *aborts* the communicator where the
  limit runs out. So a limit is never passed, and a work is asked.
- A work is complete when its end event has been passed, or when an error was found. The kernels of an aborted communicator leave, so that
  the event of what was under way is passed too: complete, without an error, with garbage. Only who knows of the abort can tell.
- `Work.wait` of a work with an error aborts the communicator itself, in the thread that waits. So the error is looked for without it.
- `abort()` waits for the communicators without a limit that is kept, and throws where one fails; it may be called from any thread, but the
  lock of a communicator that still connects is held until that has ended (`TORCH_NCCL_NONBLOCKING_TIMEOUT`).
- A watchdog thread waits a minute after an error and then ends the process; a second one watches the first. Neither is started with
  `TORCH_NCCL_BLOCKING_WAIT=1`, whose only other effect is on waits for what is not complete.
- Nothing in Python tells when a communicator that connects in the background has done so but its first operation, which waits or refuses.
- Connections are made when first used, by whoever issues, in native code, for each kind of operation. So each kind is done once on the
  thread that forms, and NCCL is told to connect all it can at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, MutableMapping
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from disttrain.collectives.compat import CONNECTING, c10d, dist

_NEVER = timedelta(days=3650)  # the limit of the group itself: read by the watchdog, which is off, and by waits for what is not complete

_ENVIRONMENT = {
    "TORCH_NCCL_BLOCKING_WAIT": "1",  # no watchdog: the driver and our own waits say who is lost, and survivors go on
    "TORCH_NCCL_ENABLE_MONITORING": "0",  # nor the one that watches it
    "TORCH_NCCL_ASYNC_ERROR_HANDLING": "0",  # and where a later torch starts it all the same, it must end no process
    "TORCH_NCCL_NONBLOCKING_TIMEOUT": str(int(CONNECTING.total_seconds())),
    # Works that no watchdog retires would be kept in the recorder's ring, as pointers to events that are gone.
    "TORCH_FR_BUFFER_SIZE": "0",
    "TORCH_NCCL_TRACE_BUFFER_SIZE": "0",
}
_WISHES = {"NCCL_RUNTIME_CONNECT": "0"}  # what somebody has set stays as it is


def prepare_environment(interface: str | None, environment: MutableMapping[str, str] = os.environ) -> None:
    """Set what torch and NCCL read as a group is made; before the first one of this process.

    Args:
        interface: the network interface on which the others reach this machine; None leaves the choice to NCCL.
    """
    for name, value in _ENVIRONMENT.items():
        if environment.get(name) != value:  # getenv in another thread, at this moment, is a crash: write no more than needed
            environment[name] = value
    wishes = _WISHES if interface is None else {**_WISHES, "NCCL_SOCKET_IFNAME": f"={interface}"}
    for name, value in wishes.items():
        environment.setdefault(name, value)


class Nccl:
    """A communicator over one GPU of each member. Begins to connect on construction, without waiting in native code.

    Args:
        store: torch asks it for more as it connects, so it is kept.
        device: this member's.
        library: where `ProcessGroupNCCL` is; tests have one with NCCL's manners.

    Raises:
        RuntimeError: NCCL says no.
    """

    def __init__(self, store: Any, rank: int, size: int, device: torch.device, library: Any = dist) -> None:
        self.rank, self.size, self.device = rank, size, device
        self._store = store
        options = library.ProcessGroupNCCL.Options()
        options._timeout = _NEVER
        options.config.blocking = 0
        self._group = library.ProcessGroupNCCL(store, rank, size, options)
        self._group.eager_connect_single_device(device)

    def all_gather(self, output: Tensor, input: Tensor) -> Any:
        return self._group._allgather_base(output, input, c10d.AllgatherOptions())

    def all_to_all(self, output: Tensor, input: Tensor, output_splits: list[int], input_splits: list[int]) -> Any:
        return self._group.alltoall_base(output, input, output_splits, input_splits, dist.AllToAllOptions())

    def broadcast(self, tensor: Tensor, source: int) -> Any:
        options = dist.BroadcastOptions()
        options.rootRank, options.rootTensor = source, 0
        return self._group.broadcast([tensor], options)

    def abort(self) -> None:
        """End everything under way. May throw, and may not return; from any thread."""
        self._group.abort()

    def retire(self) -> None:
        """End it when what this member has sent has arrived. May throw, and may not return."""
        self._group.shutdown()


def error_of(work: Any) -> str | None:
    """What went wrong with a work that is complete; None where nothing did, or where its communicator was aborted."""
    if not work.get_future_result().done():
        return None  # without the watchdog, only an error ends it
    return str(work.exception() or "NCCL reported an error")


def first_words(communicator: Nccl) -> list[tuple[Callable[[], Any], Tensor, list[int]]]:
    """One small operation of each kind, where it comes, and what must come: then everybody is connected to everybody."""
    size, device = communicator.size, communicator.device
    mine = torch.full((size,), communicator.rank, dtype=torch.int64, device=device)
    gathered, swapped = (torch.full((size,), -1, dtype=torch.int64, device=device) for _ in range(2))
    told = mine.clone()
    return [
        (lambda: communicator.all_gather(gathered, mine[:1]), gathered, list(range(size))),
        (lambda: communicator.all_to_all(swapped, mine, [1] * size, [1] * size), swapped, list(range(size))),
        (lambda: communicator.broadcast(told, 0), told, [0] * size),
    ]


def still_connects(error: RuntimeError) -> bool:
    """Whether an operation was refused only because the communicator is not connected yet: some builds of torch wait there, some say so."""
    return "operation in progress" in str(error)
