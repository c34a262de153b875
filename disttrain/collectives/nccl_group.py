"""A group over NCCL, one GPU for each member: waits that ask, aborts that any thread may make, and nothing handed on that is not whole.

What a GPU does is told late, and what is aborted is told as complete. So a wait asks whether its work is complete, beside the abort flag;
then looks at the flag again, since an aborted communicator completes what was under way with garbage, and whoever aborts raises the flag
first; then at the error; and only then are the streams ordered and the output anybody's. That is what keeps a tick whole.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from disttrain.clock import Clock, SystemClock
from disttrain.collectives.communicator_end import CommunicatorEnd, EndProcess
from disttrain.collectives.compat import CONNECTING
from disttrain.collectives.doors import Door
from disttrain.collectives.forming import connect, meet
from disttrain.collectives.nccl import Nccl, error_of, first_words, prepare_environment, still_connects
from disttrain.collectives.port import GroupBroken
from disttrain.collectives.run_store import RunStore

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.00005, 0.002
_DOORS_EVERY_S = 0.02
_LAST_ROUNDS = 25  # half a second for what a member had sent before it left
_GPU_ERRORS: tuple[type[Exception], ...] = (torch.AcceleratorError,) if hasattr(torch, "AcceleratorError") else ()  # torch 2.7: not yet
_left_alone: list[object] = []

OpenCommunicator = Callable[[Any, int, int, torch.device], Nccl]


class NcclGroup:
    """An NCCL communicator, formed in the generation whose name it gets, and good for later ones with the same members.

    Args:
        store: a connection to the store of the run, which outlives every member. The group's own: it is closed with it.
        generation: names the keys of this forming; never reused in one store.
        rank, size: this member's place, and how many there are.
        host: the address of this machine that the other members reach.
        device: the GPU of this member; no other member has it.
        aborted: set by another thread to make every wait raise `GroupBroken`; `abort` does that, and frees the GPU as well.
        interface: the network interface that has the address `host`; None leaves the choice to NCCL.
        end_process: ends this process where an abort does not return, for the reason that it is given.
        open_communicator: makes the communicator; tests have one with NCCL's manners.
        abort_within_s: so long an abort may take.
        clock: what time it is.

    Raises:
        GroupBroken: the group could not be formed, or was aborted meanwhile.
    """

    def __init__(
        self, store: RunStore, generation: str, rank: int, size: int, host: str, device: torch.device, aborted: threading.Event, *,
        interface: str | None, end_process: EndProcess, open_communicator: OpenCommunicator = Nccl, abort_within_s: float = 20.0,
        clock: Clock | None = None,
    ) -> None:  # fmt: skip
        self.rank, self.size = rank, size
        self.on_wait: Callable[[bool], None] | None = None
        self._device, self._aborted = device, aborted
        self._end_process, self._abort_within_s = end_process, abort_within_s
        self._clock = clock or SystemClock()
        self._outstanding: dict[_NcclPending, None] = {}  # in the order they were issued
        self._keys = store.under(f"{generation}/1/")
        self._communicator: Nccl | None = None
        self._end: CommunicatorEnd | None = None
        prepare_environment(interface)
        self._door: Door | None = None
        try:
            self._door = Door(host, size)
            self._communicator, self._end = self._form(self._door, open_communicator)
        except (GroupBroken, RuntimeError, OSError) as error:
            self._break(str(error))
            raise GroupBroken(f"the group could not be formed: {error}") from error

    def all_gather(self, output: Tensor, input: Tensor) -> _NcclPending:
        return self._issue(lambda communicator: communicator.all_gather(output, input), output, input)

    def all_to_all(self, output: Tensor, input: Tensor, output_splits: list[int], input_splits: list[int]) -> _NcclPending:
        return self._issue(lambda communicator: communicator.all_to_all(output, input, output_splits, input_splits), output, input)

    def broadcast(self, tensor: Tensor, source: int) -> _NcclPending:
        return self._issue(lambda communicator: communicator.broadcast(tensor, source), tensor)

    @property
    def usable(self) -> bool:
        return self._communicator is not None and not self._outstanding and not self._aborted.is_set()

    def rebind(self, aborted: threading.Event) -> None:
        if not self.usable:
            raise GroupBroken("this group is over: something broke, was aborted or left under way; form another one")
        self._aborted = aborted

    def abort(self) -> None:
        self._aborted.set()  # before the communicator ends: who sees a work complete because of that must see this
        end = self._end
        if end is not None:
            end.abort([pending.work for pending in list(self._outstanding)], "the generation was aborted")

    def close(self) -> None:
        self._break("the group was closed")

    def _issue(self, operation: Callable[[Nccl], Any], *tensors: Tensor) -> _NcclPending:
        if self._communicator is None:
            raise GroupBroken("the group is broken or closed")
        if self._aborted.is_set():
            raise GroupBroken("the generation was aborted")
        try:
            work = operation(self._communicator)
        except RuntimeError as error:
            raise self._broken_by(error) from None  # its frames hold the communicator
        pending = _NcclPending(self, work, tensors)
        self._outstanding[pending] = None
        return pending

    # -- while an operation is waited for ---------------------------------------------------------------------------------------------

    def _see_through(self, pending: _NcclPending) -> None:
        """Return when the output of `pending` is whole; raise `GroupBroken` where it never will be."""
        work = pending.work
        try:
            if not work.is_completed():
                self._await(work)
            if self._aborted.is_set():  # what an abort has completed holds garbage
                raise GroupBroken("the generation was aborted")
            error = error_of(work)
            if error is not None:
                raise GroupBroken(error)
            work.wait()  # only orders the streams: it is complete, and without an error
        except (GroupBroken, RuntimeError) as error:
            raise self._broken_by(error) from None
        del self._outstanding[pending]
        pending.done()

    def _await(self, work: Any) -> None:
        """Return when `work` is complete, well or not; raise where there is no more use in waiting."""
        watching, door = self.on_wait, self._door
        assert door is not None
        if watching is not None:
            watching(True)
        try:
            pause_s, looked_s, closed_rounds = _FIRST_PAUSE_S, self._clock.monotonic_s(), 0
            while not work.is_completed():
                if self._aborted.wait(pause_s):
                    raise GroupBroken("the generation was aborted")
                pause_s = min(1.3 * pause_s, _LONGEST_PAUSE_S)
                now_s = self._clock.monotonic_s()
                if now_s - looked_s >= _DOORS_EVERY_S:
                    looked_s = now_s
                    closed_rounds += not door.others_open
                    if closed_rounds > _LAST_ROUNDS:
                        raise GroupBroken("a member is gone")
        finally:
            if watching is not None:
                watching(False)

    def _form(self, door: Door, open_communicator: OpenCommunicator) -> tuple[Nccl, CommunicatorEnd]:
        """Meet everybody, and connect to everybody on a thread that an abort leaves behind."""
        keys = self._keys
        keys.set(f"member{self.rank}", door.address)
        meet(keys, self.size, self._aborted, lambda: door.others_open)
        addresses = [told.decode() for told in keys.multi_get([f"member{rank}" for rank in range(self.size)])]
        door.visit(address for rank, address in enumerate(addresses) if rank != self.rank)
        forming = _Forming(self._aborted, door, self._end_process, self._abort_within_s)
        return connect(lambda: forming.connected(open_communicator(keys, self.rank, self.size, self._device)), self._aborted)

    def _broken_by(self, error: Exception) -> Exception:
        """What to raise for it. An error of the GPU itself is no word about the group: it stays what it is, for who knows what follows."""
        if not isinstance(error, _GPU_ERRORS):
            self._break(str(error))
            return GroupBroken(str(error))
        _left_alone.append(self._end)  # whatever calls the GPU from here on, a destructor say, may raise or hang
        _left_alone.extend(pending.give_up(str(error)) for pending in self._outstanding)
        self._outstanding.clear()
        self._communicator, self._end = None, None
        self._break(str(error))
        return error

    def _break(self, why: str) -> None:
        """End everything under way, and this object's use; what was under way has left the GPU afterwards. Never raises."""
        works = [work for pending in self._outstanding if (work := pending.give_up(why)) is not None]
        self._outstanding.clear()
        end, self._communicator, self._end = self._end, None, None
        if end is not None and (works or self._aborted.is_set()):
            end.abort(works, why)
            end.await_end(works)
        elif end is not None:
            end.retire()
        if self._door is not None:
            self._door.close()
        self._keys.close()


class _Forming:
    """What the thread that connects looks at beside: the flag of its own generation, whatever the group does meanwhile."""

    def __init__(self, aborted: threading.Event, door: Door, end_process: EndProcess, abort_within_s: float) -> None:
        self._aborted, self._door = aborted, door
        self._end_process, self._abort_within_s = end_process, abort_within_s

    def connected(self, communicator: Nccl) -> tuple[Nccl, CommunicatorEnd]:
        """The communicator, once one operation of each kind has brought what it should."""
        end = CommunicatorEnd(communicator, self._end_process, self._abort_within_s)
        works: list[Any] = []
        try:
            for begin, output, expected in first_words(communicator):
                works.append(work := self._begun(begin))
                self._until(work.is_completed)
                error = error_of(work)
                if error is None:
                    work.wait()
                    if output.tolist() != expected:
                        error = f"a first exchange brought {output.tolist()} and not {expected}"
                if self._aborted.is_set():
                    error = "the generation was aborted while it formed"
                if error is not None:
                    raise RuntimeError(error)
        except BaseException as error:
            end.abort(works, str(error))
            raise
        return communicator, end

    def _begun(self, begin: Callable[[], Any]) -> Any:
        """The work of the operation that `begin` issues, again and again while the communicator only connects."""
        found: list[Any] = []

        def began() -> bool:
            try:
                found.append(begin())
            except RuntimeError as error:
                if not still_connects(error):
                    raise
            return bool(found)

        self._until(began)
        return found[0]

    def _until(self, done: Callable[[], bool]) -> None:
        pause_s, waited_s = _FIRST_PAUSE_S, 0.0
        while not done():
            if self._aborted.wait(pause_s):
                raise RuntimeError("the generation was aborted while it formed")
            if not self._door.others_open:  # this one's is closed, too, once the member has left
                raise RuntimeError("a member is gone")
            waited_s += pause_s
            pause_s = min(1.3 * pause_s, _LONGEST_PAUSE_S)
            if waited_s > CONNECTING.total_seconds():
                raise RuntimeError(f"not all members were connected within {CONNECTING.total_seconds():g} s")


class _NcclPending:
    __slots__ = ("_broken", "_group", "_tensors", "work")

    def __init__(self, group: NcclGroup, work: Any, tensors: tuple[Tensor, ...]) -> None:
        self.work: Any = work
        self._group = group
        self._tensors = tensors  # under the operation until it has ended
        self._broken: str | None = None

    def wait(self) -> None:
        if self.work is not None:
            self._group._see_through(self)
        if self._broken is not None:
            raise GroupBroken(self._broken)

    def done(self) -> None:
        self.work, self._tensors = None, ()

    def give_up(self, why: str) -> Any:
        """The work, and what it reads and writes, to be let go of by somebody else."""
        work, self._broken = self.work, why
        if self._group._end is not None:
            self._group._end.keep(*self._tensors)
        self.done()
        return work
