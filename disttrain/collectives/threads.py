"""A group whose members are threads of one process: for tests, and to show what the port promises without a network."""

from __future__ import annotations

import threading
from collections.abc import Callable

from torch import Tensor

from disttrain.collectives.port import GroupBroken


class _Meeting:
    """Where the members of one generation lay down their inputs, call by call."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.condition = threading.Condition()
        self.inputs: dict[int, dict[int, tuple[Tensor, list[int]]]] = {}
        self.taken: dict[int, int] = {}
        self.broken = False


class _ThreadPending:
    def __init__(self, group: ThreadGroup, call: int, finish: Callable[[dict[int, tuple[Tensor, list[int]]]], None]) -> None:
        self._group, self._call, self._finish = group, call, finish
        self._finished = False

    def wait(self) -> None:
        if self._finished:
            return
        group, meeting = self._group, self._group._meeting
        with meeting.condition:
            if not self._all_there():
                self._await()
            if group._over:
                meeting.broken = True  # as sockets break for the others, too
                meeting.condition.notify_all()
                raise GroupBroken("the group was aborted")
            self._finish(meeting.inputs[self._call])
            self._finished = True
            group._outstanding -= 1
            meeting.taken[self._call] = meeting.taken.get(self._call, 0) + 1
            if meeting.taken[self._call] == meeting.size:
                del meeting.inputs[self._call], meeting.taken[self._call]
            meeting.condition.notify_all()

    def _await(self) -> None:
        """Return when everybody's input is there, or never will be."""
        group, condition, watching = self._group, self._group._meeting.condition, self._group.on_wait
        if watching is not None:
            watching(True)
        while not self._all_there() and not group._over:
            condition.wait(timeout=0.02)
        if watching is not None:
            watching(False)

    def _all_there(self) -> bool:
        meeting = self._group._meeting
        return len(meeting.inputs.get(self._call, {})) == meeting.size


class ThreadGroup:
    """One member of an in-process group; make them all with `thread_groups`."""

    def __init__(self, meeting: _Meeting, rank: int) -> None:
        self.rank, self.size = rank, meeting.size
        self.on_wait: Callable[[bool], None] | None = None
        self._meeting = meeting
        self._aborted = threading.Event()
        self._calls = 0
        self._outstanding = 0

    def all_gather(self, output: Tensor, input: Tensor) -> _ThreadPending:
        def finish(inputs: dict[int, tuple[Tensor, list[int]]]) -> None:
            for rank, part in enumerate(output.chunk(self.size)):
                part.copy_(inputs[rank][0])

        return self._lay_down(input, [], finish)

    def all_to_all(self, output: Tensor, input: Tensor, output_splits: list[int], input_splits: list[int]) -> _ThreadPending:
        def finish(inputs: dict[int, tuple[Tensor, list[int]]]) -> None:
            for rank, part in enumerate(output.split(output_splits)):
                theirs, splits = inputs[rank]
                part.copy_(theirs.split(splits)[self.rank])

        return self._lay_down(input, input_splits, finish)

    def broadcast(self, tensor: Tensor, source: int) -> _ThreadPending:
        def finish(inputs: dict[int, tuple[Tensor, list[int]]]) -> None:
            tensor.copy_(inputs[source][0])

        return self._lay_down(tensor, [], finish)

    @property
    def usable(self) -> bool:
        return not self._over and not self._outstanding

    def rebind(self, aborted: threading.Event) -> None:
        if not self.usable:
            raise GroupBroken("this group is over: something broke, was aborted or left under way; form another one")
        self._aborted = aborted

    def abort(self) -> None:
        with self._meeting.condition:
            self._meeting.broken = True
            self._meeting.condition.notify_all()

    def close(self) -> None:
        self.abort()

    @property
    def _over(self) -> bool:
        return self._meeting.broken or self._aborted.is_set()

    def _lay_down(self, tensor: Tensor, splits: list[int], finish: Callable[[dict[int, tuple[Tensor, list[int]]]], None]) -> _ThreadPending:
        meeting, call = self._meeting, self._calls
        self._calls += 1
        self._outstanding += 1
        with meeting.condition:
            # A copy, as a network would make: the caller may reuse its buffer once its own wait has returned.
            meeting.inputs.setdefault(call, {})[self.rank] = (tensor.clone(), splits)
            meeting.condition.notify_all()
        return _ThreadPending(self, call, finish)


def thread_groups(size: int) -> list[ThreadGroup]:
    """The `size` members of a new in-process group, one for each thread."""
    meeting = _Meeting(size)
    return [ThreadGroup(meeting, rank) for rank in range(size)]
