"""Tensors of a device over the memory of the host: copies are made, each way, and the memory of them is kept within bounds."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from late_copies import LateCopies
from nccl_like import members

from disttrain.collectives import GroupBroken
from disttrain.collectives.staged_group import StagedGroup, Staging
from disttrain.collectives.threads import ThreadGroup, thread_groups

CPU = torch.device("cpu")


class Watched(ThreadGroup):
    """Notes where the memory lies that it is given."""

    def __init__(self, group: ThreadGroup) -> None:
        super().__init__(group._meeting, group.rank)
        self.given: list[int] = []

    def all_gather(self, output: torch.Tensor, input: torch.Tensor) -> Any:
        self.given += [output.data_ptr(), input.data_ptr()]
        return super().all_gather(output, input)

    def broadcast(self, tensor: torch.Tensor, source: int) -> Any:
        self.given.append(tensor.data_ptr())
        return super().broadcast(tensor, source)


def test_the_group_below_never_sees_memory_of_the_device():
    inner = [Watched(group) for group in thread_groups(2)]
    groups = [StagedGroup(group, Staging(CPU)) for group in inner]
    tensors = [[torch.zeros(2), torch.ones(1), torch.full((3,), float(rank))] for rank in range(2)]

    def exchange(rank: int) -> None:
        output, mine, told = tensors[rank]
        groups[rank].all_gather(output, mine).wait()
        groups[rank].broadcast(told, 1).wait()

    assert members(2, exchange) == [None, None]
    for rank in range(2):
        assert not {tensor.data_ptr() for tensor in tensors[rank]} & set(inner[rank].given)
        assert tensors[rank][0].tolist() == [1.0, 1.0] and tensors[rank][2].tolist() == [1.0, 1.0, 1.0]


def test_what_was_sent_may_change_once_it_was_waited_for_and_the_next_is_not_touched_by_it():
    groups = [StagedGroup(group, Staging(CPU)) for group in thread_groups(2)]

    def exchange(rank: int) -> list[list[float]]:
        mine, outputs = torch.zeros(1), [torch.zeros(2) for _ in range(20)]
        for number, output in enumerate(outputs):
            mine.fill_(10 * number + rank)
            groups[rank].all_gather(output, mine).wait()
        return [output.tolist() for output in outputs]

    assert members(2, exchange) == [[[10.0 * number, 10.0 * number + 1] for number in range(20)]] * 2


def test_memory_is_used_again_and_never_more_is_kept_than_was_in_use_at_once():
    staging = Staging(CPU)
    first = staging.take(torch.empty(100_000))
    at = first.data_ptr()
    staging.give_back(first)
    again = staging.take(torch.empty(90_000))
    assert again.data_ptr() == at
    staging.give_back(again)
    for size in range(1000, 500_000, 50_000):  # a state goes through, tensor by tensor
        staging.give_back(staging.take(torch.empty(size)))
    kept = sum(buffer.nbytes for buffer, _ in staging._free)
    assert kept <= 4 * 500_000 + 4096


def test_memory_under_a_broken_operation_is_never_used_again():
    group = StagedGroup(thread_groups(2)[0], staging := Staging(CPU))
    pending = group.all_gather(torch.zeros(2), torch.ones(1))
    threading.Timer(0.0, group.abort).start()
    with pytest.raises(GroupBroken):
        pending.wait()
    assert not staging._free and not staging._used


def test_a_wait_that_has_to_wait_is_told():
    first, second = (StagedGroup(group, Staging(CPU)) for group in thread_groups(2))
    seen: list[bool] = []
    come = threading.Event()

    def watch(waiting: bool) -> None:
        seen.append(waiting)
        come.set()

    first.on_wait = watch
    late = threading.Thread(target=lambda: (come.wait(), second.broadcast(torch.ones(1), 0).wait()))
    late.start()
    first.broadcast(torch.ones(1), 0).wait()
    late.join()
    assert seen == [True, False]


# -- a device that copies in its own time --------------------------------------------------------------------------------------------------


def test_nothing_is_sent_before_it_is_copied_and_nobody_waits_for_a_copy_but_who_needs_its_result():
    late = [LateCopies(), LateCopies()]
    inner = [Watched(group) for group in thread_groups(2)]
    groups = [StagedGroup(group, Staging(CPU, copies)) for group, copies in zip(inner, late, strict=True)]
    outputs = [[torch.zeros(2) for _ in range(3)] for _ in range(2)]

    def exchange(rank: int) -> list[int]:
        sent, pending = [], []
        for number, output in enumerate(outputs[rank]):
            pending.append(groups[rank].all_gather(output, torch.full((1,), 10.0 * number + rank)))
            sent.append(len(inner[rank].given) // 2)
            if number == 1:
                late[rank].downs[0].wait()  # the device has come to the first one
        pending[2].wait()  # the newest first: all before it are sent first, in their order
        for other in pending[:2]:
            other.wait()
        late[rank].catch_up()
        return sent

    assert members(2, exchange) == [[0, 0, 1]] * 2
    for rank in range(2):
        assert [output.tolist() for output in outputs[rank]] == [[10.0 * number, 10.0 * number + 1] for number in range(3)]
        assert not groups[rank]._unsent and groups[rank].usable


def test_memory_that_a_copy_up_still_reads_is_not_written_again():
    late = [LateCopies(), LateCopies()]
    groups = [StagedGroup(group, Staging(CPU, copies)) for group, copies in zip(thread_groups(2), late, strict=True)]
    outputs = [[torch.zeros(2) for _ in range(6)] for _ in range(2)]

    def exchange(rank: int) -> int:
        for number, output in enumerate(outputs[rank]):
            groups[rank].all_gather(output, torch.full((1,), 10.0 * number + rank)).wait()
        late[rank].catch_up()
        return len(groups[rank]._staging._free)

    kept = members(2, exchange)
    for rank in range(2):
        assert [output.tolist() for output in outputs[rank]] == [[10.0 * number, 10.0 * number + 1] for number in range(6)]
        assert kept[rank] <= 2  # one way down, one up


def test_a_group_that_breaks_while_the_device_still_copies_breaks_what_waits_and_keeps_no_memory():
    late = LateCopies()
    group = StagedGroup(thread_groups(2)[0], staging := Staging(CPU, late))
    pending = [group.all_gather(torch.zeros(2), torch.ones(1)) for _ in range(2)]
    assert not group.usable
    group.abort()
    for one in pending:
        with pytest.raises(GroupBroken):
            one.wait()
        with pytest.raises(GroupBroken):
            one.wait()
    assert not staging._free and not staging._used and not group.usable
