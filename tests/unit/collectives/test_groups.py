"""What every group promises beside its operations: going on in a later generation, and telling when it waits."""

from __future__ import annotations

import threading

import pytest
import torch

from disttrain.collectives import GroupBroken, SoloGroup
from disttrain.collectives.doors import Door
from disttrain.collectives.threads import thread_groups


def test_a_group_of_one_goes_on_for_ever():
    group = SoloGroup()
    group.all_gather(torch.empty(1), torch.ones(1)).wait()
    group.close()
    group.rebind(threading.Event())
    assert group.usable and group.on_wait is None


def test_a_group_of_threads_is_usable_when_nothing_is_under_way():
    first, second = thread_groups(2)
    pending = [group.all_gather(torch.empty(2), torch.ones(1)) for group in (first, second)]
    assert not first.usable and not second.usable
    for each in pending:
        each.wait()
    assert first.usable and second.usable


def test_a_group_of_threads_obeys_the_flag_that_it_was_bound_to_last():
    first, second = thread_groups(2)
    older, newer = threading.Event(), threading.Event()
    first.rebind(older)
    first.rebind(newer)
    older.set()
    assert first.usable
    pending = first.all_gather(torch.empty(2), torch.ones(1))
    newer.set()
    with pytest.raises(GroupBroken):
        pending.wait()
    assert not first.usable and not second.usable
    with pytest.raises(GroupBroken, match="form another one"):
        second.rebind(threading.Event())


def test_a_group_of_threads_tells_of_waits_that_have_to_wait():
    first, second = thread_groups(2)
    seen: list[bool] = []
    come = threading.Event()

    def watch(waiting: bool) -> None:
        seen.append(waiting)
        come.set()

    def late() -> None:
        come.wait()
        second.broadcast(torch.ones(1), 0).wait()

    first.on_wait = watch
    thread = threading.Thread(target=late)
    thread.start()
    first.broadcast(torch.ones(1), 0).wait()
    thread.join()
    second.broadcast(torch.ones(1), 0)
    first.broadcast(torch.ones(1), 0).wait()  # everybody's part is there: nothing to wait for
    assert seen == [True, False]


def test_a_door_is_open_to_its_visitors_until_it_is_closed():
    doors = [Door("127.0.0.1", 3) for _ in range(3)]
    for door in doors:
        door.visit(other.address for other in doors if other is not door)
    assert all(door.others_open for door in doors)
    doors[2].close()
    assert not doors[0].others_open and not doors[1].others_open
    with pytest.raises(OSError):
        doors[0].visit([doors[2].address])
    doors[0].close()
    doors[1].close()
