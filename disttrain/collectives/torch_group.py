"""A group over torch.distributed: gloo on CPUs, nccl on GPUs, one process group object for as long as the members stay the same.

A wait has no clock of its own: it ends with the operation, which progress or a broken connection ends, or with the abort flag, at which it
looks every 20 ms. What broke is cut before anybody hears of it, so that no late byte reaches a tensor that is used again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from torch import Tensor

from disttrain.collectives.compat import Gloo, Nccl, Transport, dist
from disttrain.collectives.forming import connect, meet
from disttrain.collectives.letting_go import end, let_go
from disttrain.collectives.port import GroupBroken

_LOOK_AROUND = timedelta(milliseconds=20)
_REACHING = timedelta(seconds=60)  # until the store of the run answers


class TorchGroup:
    """A torch process group, formed in the generation whose name it gets, and good for later ones with the same members.

    Args:
        store: a connection to a store that outlives every member; it lives in the driver. The group keeps it until it is closed.
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
        self.on_wait: Callable[[bool], None] | None = None
        self._aborted = aborted
        self._outstanding: set[_TorchPending] = set()
        keys = dist.PrefixStore(f"{generation}/", store)
        meet(keys, size, aborted)
        make = (lambda: Nccl(keys, rank, size)) if backend == "nccl" else (lambda: Gloo(keys, rank, size, host))
        self._transport: Transport | None = connect(make, aborted)

    def all_gather(self, output: Tensor, input: Tensor) -> _TorchPending:
        return self._issue(lambda transport: transport.all_gather(output, input))

    def all_to_all(self, output: Tensor, input: Tensor, output_splits: list[int], input_splits: list[int]) -> _TorchPending:
        return self._issue(lambda transport: transport.all_to_all(output, input, output_splits, input_splits))

    def broadcast(self, tensor: Tensor, source: int) -> _TorchPending:
        return self._issue(lambda transport: transport.broadcast(tensor, source))

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._outstanding and not self._aborted.is_set()

    def rebind(self, aborted: threading.Event) -> None:
        if not self.usable:
            raise GroupBroken("this group is over: something broke, was aborted or left under way; form another one")
        self._aborted = aborted

    def abort(self) -> None:
        self._aborted.set()

    def close(self) -> None:
        if self._outstanding or self._aborted.is_set():
            self._break("the group was closed")
        elif self._transport is not None:
            belongings, self._transport = [self._transport], None
            let_go(belongings)

    def _issue(self, operation: Callable[[Transport], Any]) -> _TorchPending:
        if self._transport is None:
            raise GroupBroken("the group is broken or closed")
        if self._aborted.is_set():
            raise GroupBroken("the generation was aborted")
        try:
            pending = _TorchPending(self, operation(self._transport))
        except RuntimeError as error:
            why = str(error)  # its words only: its frames hold the transport
        else:
            self._outstanding.add(pending)
            return pending
        self._break(why)
        raise GroupBroken(why)

    def _await(self, work: Any) -> None:
        """Return when `work` is complete, well or not."""
        watching = self.on_wait
        if watching is not None:
            watching(True)
        try:
            while self._transport is not None and not self._transport.complete_within(work, _LOOK_AROUND):
                if self._aborted.is_set():
                    self._break("the generation was aborted")
                    return
        finally:
            if watching is not None:
                watching(False)

    def _break(self, why: str) -> None:
        """End everything under way, and this object's use. Never raises."""
        if self._transport is None:
            return
        belongings = [self._transport, *[pending.give_up(why) for pending in self._outstanding]]
        self._transport = None
        self._outstanding.clear()
        end(belongings)


class _TorchPending:
    def __init__(self, group: TorchGroup, work: Any) -> None:
        self._group = group
        self._work = work  # let go of as soon as it has ended: it keeps its tensors, and the connections of its group
        self._broken: str | None = None

    def wait(self) -> None:
        if self._work is not None:
            if not self._work.is_completed():
                self._group._await(self._work)
            self._finish()
        if self._broken is not None:
            raise GroupBroken(self._broken)

    def give_up(self, why: str) -> Any:
        """What it waited for, to be let go of by somebody else."""
        work, self._work, self._broken = self._work, None, why
        return work

    def _finish(self) -> None:
        if self._work is None:
            return  # given up while it waited
        try:
            self._work.wait()
        except RuntimeError as error:
            self._group._break(str(error))
        else:
            self._work = None
            self._group._outstanding.discard(self)


def serve_store(host: str) -> Any:
    """The store of a run, to be kept by the driver; its port is `.port`."""
    return dist.TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=_REACHING)


def reach_store(host: str, port: int) -> Any:
    """A member's connection to the store of its run."""
    return dist.TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=_REACHING)
