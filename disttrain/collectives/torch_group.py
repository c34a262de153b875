"""A group over gloo, for tensors in the memory of the host: one group object for as long as the members stay the same.

A wait has no clock of its own: it ends with the operation, with a member that is gone, or with the abort flag, looked at every 20 ms.
gloo's operations do need a time limit (see compat.py). So where a member is late, the others leave gloo after a while, connections and
all, and wait for it in the store, where waiting needs no limit; all meet there again, connect anew, and issue the open operations once
more, whose inputs are untouched by contract.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from torch import Tensor

from disttrain.clock import Clock, SystemClock
from disttrain.collectives.acquaintance import introduced
from disttrain.collectives.compat import Gloo, Transport
from disttrain.collectives.doors import Door
from disttrain.collectives.forming import connect, meet
from disttrain.collectives.letting_go import end, end_now, let_go
from disttrain.collectives.port import GroupBroken
from disttrain.collectives.run_store import RunStore

_LOOK_AROUND = timedelta(milliseconds=20)
_LAST_ROUNDS = 25  # half a second for what a member had sent before it left
_SLOWEST_BYTES_PER_S = 1e7  # an operation's patience grows with its size, and doubles each time it was not enough


class TorchGroup:
    """A torch process group, formed in the generation whose name it gets, and good for later ones with the same members.

    Args:
        store: a connection to the store of the run, which outlives every member. The group's own: it is closed with it.
        generation: names the keys of this forming; never reused in one store.
        rank, size: this member's place, and how many there are.
        host: the address of this machine that the other members reach.
        aborted: set by another thread to make every wait raise `GroupBroken`.
        patience_s: how long a wait for a late member stays in gloo; then it goes on in the store. What broke is let go of after twice that.
        clock: what the patience is measured with.

    Raises:
        GroupBroken: the group could not be formed, or was aborted meanwhile.
    """

    def __init__(
        self,
        store: RunStore,
        generation: str,
        rank: int,
        size: int,
        host: str,
        aborted: threading.Event,
        *,
        patience_s: float = 10.0,
        clock: Clock | None = None,
    ) -> None:
        self.rank, self.size = rank, size
        self.on_wait: Callable[[bool], None] | None = None
        self._host, self._aborted = host, aborted
        self._patience_s, self._clock = patience_s, clock or SystemClock()
        self._issued = 0
        self._outstanding: dict[_TorchPending, None] = {}  # in the order they were issued
        self._formings = 0
        self._keys = store.under(f"{generation}/")
        self._transport: Transport | None = None
        self._door = Door(host, size)
        try:
            self._transport = self._form()
        except (GroupBroken, RuntimeError, OSError) as error:
            self._break(str(error))
            raise GroupBroken(f"the group could not be formed: {error}") from error

    def all_gather(self, output: Tensor, input: Tensor) -> _TorchPending:
        return self._issue(lambda transport, limit_s: transport.all_gather(output, input, limit_s), output)

    def all_to_all(self, output: Tensor, input: Tensor, output_splits: list[int], input_splits: list[int]) -> _TorchPending:
        return self._issue(lambda transport, limit_s: transport.all_to_all(output, input, output_splits, input_splits, limit_s), input)

    def broadcast(self, tensor: Tensor, source: int) -> _TorchPending:
        return self._issue(lambda transport, limit_s: transport.broadcast(tensor, source, limit_s), tensor)

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
        self._break("the group was closed")

    def _issue(self, operation: Callable[[Transport, int], Any], largest: Tensor) -> _TorchPending:
        if self._transport is None:
            raise GroupBroken("the group is broken or closed")
        if self._aborted.is_set():
            raise GroupBroken("the generation was aborted")
        pending = _TorchPending(self, operation, self._issued, self._patience_s + largest.nbytes / _SLOWEST_BYTES_PER_S)
        try:
            pending.issue(self._transport)
        except RuntimeError as error:
            why = str(error)  # its words only: its frames hold the transport
        else:
            self._issued += 1
            self._outstanding[pending] = None
            return pending
        self._break(why)
        raise GroupBroken(why)

    # -- while an operation is waited for ---------------------------------------------------------------------------------------------

    def _see_through(self, pending: _TorchPending) -> None:
        """Return when `pending` has ended: complete, or given up."""
        watching = self.on_wait
        if watching is not None:
            watching(True)
        try:
            while pending.work is not None:
                if self._await(pending) and (why := pending.settle()) is not None:
                    self._renew(why)
        finally:
            if watching is not None:
                watching(False)

    def _await(self, pending: _TorchPending) -> bool:
        """True when the work of `pending` is complete, well or not; False when it has another one since, or none."""
        since_s, closed_rounds = self._clock.monotonic_s(), 0
        while self._transport is not None:
            if self._transport.complete_within(pending.work, _LOOK_AROUND):
                return True
            closed_rounds += not self._door.others_open
            if self._aborted.is_set():
                self._break("the generation was aborted")
            elif closed_rounds > _LAST_ROUNDS:
                self._break("a member is gone")
            elif self._clock.monotonic_s() - since_s >= pending.patience_s:
                self._renew("a member was late, and one is gone")
                return False
        return False

    def _renew(self, why: str) -> None:
        """Go on over new connections if everybody is still there; else give everything up, because of `why`.

        All meet again, connect anew, and issue once more what is open.
        """
        transport = self._transport
        if transport is None:
            return
        if self._aborted.is_set():
            del transport
            self._break(why)
            return
        first = next((pending.number for pending in self._outstanding if not pending.well()), self._issued)
        again = [pending for pending in self._outstanding if pending.number >= first]
        belongings, self._transport = [transport, *[pending.take() for pending in again]], None
        del transport
        try:
            # What was cut off in the middle of a message would write where the repeated operation has long been finished.
            if not self._door.others_open or not end_now(belongings, lambda: self._door.others_open and not self._aborted.is_set()):
                raise GroupBroken(why)
            self._transport = self._form(at=first)
            for pending in again:
                pending.patience_s *= 2
                pending.issue(self._transport)
        except (GroupBroken, RuntimeError) as error:
            why = str(error)
        else:
            return
        if belongings:
            end(belongings)
        self._break(why)

    def _form(self, at: int = 0) -> Transport:
        """Connect to everybody, who must stand at operation `at` as this member does."""
        self._formings += 1
        keys = self._keys.under(f"{self._formings}/")
        keys.set(f"member{self.rank}", f"{at} {self._door.address}")
        meet(keys, self.size, self._aborted, lambda: self._door.others_open)
        members = [told.decode().split(" ", 1) for told in keys.multi_get([f"member{rank}" for rank in range(self.size)])]
        if any(int(where) != at for where, _ in members):
            raise GroupBroken("the members do not stand at the same operation")
        if self._formings == 1:
            self._door.visit(address for rank, (_, address) in enumerate(members) if rank != self.rank)
        return connect(lambda: introduced(Gloo(keys, self.rank, self.size, self._host), keys.proof, self.rank, self.size), self._aborted)

    def _break(self, why: str) -> None:
        """End everything under way, and this object's use. Never raises."""
        works = [pending.give_up(why) for pending in self._outstanding]
        self._outstanding.clear()
        if self._transport is not None:
            belongings = [self._transport, *[work for work in works if work is not None]]
            self._transport = None
            if works or self._aborted.is_set():
                end(belongings)
            else:
                let_go(belongings)
        self._door.close()
        self._keys.close()


class _TorchPending:
    __slots__ = ("_broken", "_group", "_operation", "number", "patience_s", "work")

    def __init__(self, group: TorchGroup, operation: Callable[[Transport, int], Any], number: int, patience_s: float) -> None:
        self.work: Any = None  # let go of as soon as it has ended: it keeps its tensors, and the connections of its group
        self.number, self.patience_s = number, patience_s
        self._group = group
        self._operation: Callable[[Transport, int], Any] | None = operation
        self._broken: str | None = None

    def issue(self, transport: Transport) -> None:
        assert self._operation is not None
        self.work = self._operation(transport, 1 + int(2 * self.patience_s))

    def wait(self) -> None:
        if self.work is not None and not (self.work.is_completed() and self.settle() is None):
            self._group._see_through(self)
        if self._broken is not None:
            raise GroupBroken(self._broken)

    def settle(self) -> str | None:
        """Take in a work that is complete: None, or what went wrong."""
        try:
            self.work.wait()
        except RuntimeError as error:
            return str(error)
        self.work = self._operation = None
        del self._group._outstanding[self]
        return None

    def well(self) -> bool:
        """Whether it is complete, without an error."""
        try:
            return self.work.is_completed() and self.work.wait() is not None
        except RuntimeError:
            return False

    def take(self) -> Any:
        """The work, to be let go of by somebody else."""
        work, self.work = self.work, None
        return work

    def give_up(self, why: str) -> Any:
        self._operation, self._broken = None, why
        return self.take()
