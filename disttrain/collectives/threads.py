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
    def __init__(self, meeting: _Meeting, call: int, finish: Callable[[dict[int, tuple[Tensor, list[int]]]], None]) -> None:
        self._meeting, self._call, self._finish = meeting, call, finish

    def wait(self) -> None:
        meeting = self._meeting
        with meeting.condition:
            while len(meeting.inputs.get(self._call, {})) < meeting.size and not meeting.broken:
                meeting.condition.wait(timeout=0.05)
            if meeting.broken:
                raise GroupBroken("the group was aborted")
            self._finish(meeting.inputs[self._call])
            meeting.taken[self._call] = meeting.taken.get(self._call, 0) + 1
            if meeting.taken[self._call] == meeting.size:
                del meeting.inputs[self._call], meeting.taken[self._call]
            meeting.condition.notify_all()


class ThreadGroup:
    """One member of an in-process group; make them all with `thread_groups`."""

    def __init__(self, meeting: _Meeting, rank: int) -> None:
        self.rank, self.size = rank, meeting.size
        self._meeting = meeting
        self._calls = 0

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

    def abort(self) -> None:
        with self._meeting.condition:
            self._meeting.broken = True
            self._meeting.condition.notify_all()

    def close(self) -> None:
        self.abort()

    def _lay_down(self, tensor: Tensor, splits: list[int], finish: Callable[[dict[int, tuple[Tensor, list[int]]]], None]) -> _ThreadPending:
        meeting, call = self._meeting, self._calls
        self._calls += 1
        with meeting.condition:
            # A copy, as a network would make: the caller may reuse its buffer once its own wait has returned.
            meeting.inputs.setdefault(call, {})[self.rank] = (tensor.clone(), splits)
            meeting.condition.notify_all()
        return _ThreadPending(meeting, call, finish)


def thread_groups(size: int) -> list[ThreadGroup]:
    """The `size` members of a new in-process group, one for each thread."""
    meeting = _Meeting(size)
    return [ThreadGroup(meeting, rank) for rank in range(size)]
