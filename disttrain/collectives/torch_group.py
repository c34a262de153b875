"""A group over torch.distributed: gloo on CPUs, nccl on GPUs, one process group object for each generation.

Measured traps that shaped this file: gloo has no abort, so waits are short and look at a flag between; the destructor of a hung group
blocks to its timeout, so dead groups are kept; a constructor waits for its peers in native code, so it runs on a thread of its own;
and a timed-out `Work.wait` of a gloo collective only says so and changes nothing, which makes it a wait that can look around.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from disttrain.collectives.port import GroupBroken

dist: Any = torch.distributed  # its types leave out most of what is used here

_LOOK_AROUND = timedelta(milliseconds=20)
_OPERATION_TIMEOUT = timedelta(seconds=60)  # the last line only: the driver tells survivors long before
_graveyard: list[object] = []


class TorchGroup:
    """One generation of a torch process group.

    Args:
        store: a store that outlives every member; it lives in the driver.
        generation: names the keys of this forming; never reused in one store.
        rank, size: this member's place, and how many there are.
        host: the address of this machine that the other members reach.
        backend: "gloo" or "nccl".
        aborted: set by another thread to make every wait raise `GroupBroken`.

    Raises:
        GroupBroken: the group could not be formed, or was aborted meanwhile.
    """

    def __init__(self, store: Any, generation: str, rank: int, size: int, host: str, backend: str, aborted: threading.Event) -> None:
        self.rank, self.size = rank, size
        self._aborted = aborted
        self._backend = backend
        self._group = self._form(dist.PrefixStore(f"{generation}/", store), host)

    def all_gather(self, output: Tensor, input: Tensor) -> _TorchPending:
        return self._issue(lambda: self._group._allgather_base(output, input))

    def all_to_all(self, output: Tensor, input: Tensor, output_splits: list[int], input_splits: list[int]) -> _TorchPending:
        return self._issue(lambda: self._group.alltoall_base(output, input, output_splits, input_splits))

    def broadcast(self, tensor: Tensor, source: int) -> _TorchPending:
        options = dist.BroadcastOptions()
        options.rootRank, options.rootTensor = source, 0
        return self._issue(lambda: self._group.broadcast([tensor], options))

    def abort(self) -> None:
        self._aborted.set()

    def close(self) -> None:
        self._aborted.set()
        if self._backend == "nccl":
            self._group.abort()
        _graveyard.append(self._group)

    def _issue(self, operation: Callable[[], Any]) -> _TorchPending:
        if self._aborted.is_set():
            raise GroupBroken("the generation was aborted")
        try:
            return _TorchPending(operation(), self._aborted)
        except RuntimeError as error:
            raise GroupBroken(str(error)) from error

    def _form(self, store: Any, host: str) -> Any:
        made: list[object] = []
        failed: list[BaseException] = []

        def make() -> None:
            try:
                if self._backend == "nccl":
                    made.append(dist.ProcessGroupNCCL(store, self.rank, self.size, dist.ProcessGroupNCCL.Options()))
                else:
                    options = dist.ProcessGroupGloo._Options()
                    options._devices = [dist.ProcessGroupGloo.create_device(hostname=host)]
                    options._timeout, options._threads = _OPERATION_TIMEOUT, 2
                    made.append(dist.ProcessGroupGloo(store, self.rank, self.size, options))
            except BaseException as error:  # handed to the thread that waits
                failed.append(error)

        thread = threading.Thread(target=make, name="form-group", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(timeout=0.02)
            if self._aborted.is_set() and thread.is_alive():
                _graveyard.append((thread, made))
                raise GroupBroken("the generation was aborted while it formed")
        if failed:
            raise GroupBroken(f"the group could not be formed: {failed[0]}") from failed[0]
        return made[0]


class _TorchPending:
    def __init__(self, work: Any, aborted: threading.Event) -> None:
        self._work, self._aborted = work, aborted

    def wait(self) -> None:
        while True:
            complete = self._work.is_completed()
            try:
                self._work.wait(_LOOK_AROUND)
                return
            except RuntimeError as error:
                if complete or "timed out" not in str(error).lower():
                    _graveyard.append(self._work)
                    raise GroupBroken(str(error)) from error
            if self._aborted.is_set():
                # The tensors may still be written to: nobody may reuse them, so the work that holds them is kept.
                _graveyard.append(self._work)
                raise GroupBroken("the generation was aborted")


def serve_store(host: str) -> Any:
    """The store of a run, to be kept by the driver; its port is `.port`."""
    return dist.TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60))


def reach_store(host: str, port: int) -> Any:
    """A member's connection to the store of its run."""
    return dist.TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=60))


def device_of(backend: str) -> torch.device:
    """Where a worker of this backend computes."""
    return torch.device("cuda", torch.cuda.current_device()) if backend == "nccl" else torch.device("cpu")
