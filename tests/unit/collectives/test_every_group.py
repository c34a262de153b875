"""What every Group promises, whoever carries the bytes: memory, gloo, NCCL's manners, the memory of the host under a device."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from nccl_like import Library, MemoryStore, environment, members, nccl_group

from disttrain.collectives import Group, GroupBroken
from disttrain.collectives.run_store import RunStore
from disttrain.collectives.staged_group import StagedGroup, Staging
from disttrain.collectives.store_server import StoreAddress, StoreServer
from disttrain.collectives.threads import thread_groups
from disttrain.collectives.torch_group import TorchGroup

Make = Callable[[list[threading.Event]], list[Group]]
_numbers = itertools.count()
CPU = torch.device("cpu")  # stands in for a device: the copies are made all the same


@pytest.fixture(scope="module")
def store() -> Iterator[StoreAddress]:
    server = StoreServer("127.0.0.1")
    yield server.address
    server.close()


@pytest.fixture(params=["threads", "gloo", "nccl", "staged"])
def make(request: pytest.FixtureRequest, store: StoreAddress) -> Iterator[Make]:
    """Makes the members of a group, one for each flag."""
    made: list[Group] = []

    def gloo(flags: list[threading.Event]) -> list[Any]:
        size, generation = len(flags), f"e{next(_numbers)}"
        return members(size, lambda rank: TorchGroup(RunStore(store), generation, rank, size, "127.0.0.1", flags[rank]))

    def nccl(flags: list[threading.Event]) -> list[Any]:
        library, memory = Library(), MemoryStore()
        return members(len(flags), lambda rank: nccl_group(library, memory, "g", rank, len(flags), flags[rank]))

    def threads(flags: list[threading.Event]) -> list[Any]:
        groups = thread_groups(len(flags))
        for group, flag in zip(groups, flags, strict=True):
            group.rebind(flag)
        return list(groups)

    def staged(flags: list[threading.Event]) -> list[Any]:
        return [StagedGroup(group, Staging(CPU)) for group in gloo(flags)]

    kinds: dict[str, Callable[[list[threading.Event]], list[Any]]] = {"threads": threads, "gloo": gloo, "nccl": nccl, "staged": staged}

    def making(flags: list[threading.Event]) -> list[Group]:
        made.extend(kinds[request.param](flags))
        return made[-len(flags) :]

    with environment():
        yield making
        for group in made:
            group.close()


def flags_for(size: int) -> list[threading.Event]:
    return [threading.Event() for _ in range(size)]


def test_it_gathers_swaps_and_tells_in_rank_order(make: Make):
    groups = make(flags_for(3))

    def exchange(rank: int) -> list[Any]:
        group = groups[rank]
        gathered, swapped = torch.zeros(6, dtype=torch.float64), torch.zeros(3, dtype=torch.uint8)
        told = torch.full((2,), 10 * rank, dtype=torch.int64)
        uneven, parts = torch.zeros({0: 1, 1: 2, 2: 0}[rank] * 3), [1, 2, 0]
        under_way = [
            group.all_gather(gathered, torch.full((2,), float(rank), dtype=torch.float64)),
            group.all_to_all(swapped, torch.arange(3, dtype=torch.uint8) + 10 * rank, [1] * 3, [1] * 3),
            group.all_to_all(uneven, torch.arange(3.0) + 10 * rank, [len(uneven) // 3] * 3, parts),
            group.broadcast(told, 2),
        ]
        for pending in under_way:
            pending.wait()
            pending.wait()  # again: nothing more to do
        return [each.tolist() for each in (gathered, swapped, uneven, told)]

    gathered = [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]
    assert members(3, exchange) == [
        [gathered, [0, 10, 20], [0.0, 10.0, 20.0], [20, 20]],
        [gathered, [1, 11, 21], [1.0, 2.0, 11.0, 12.0, 21.0, 22.0], [20, 20]],
        [gathered, [2, 12, 22], [], [20, 20]],
    ]


def test_the_same_bits_come_as_were_sent(make: Make):
    groups = make(flags_for(2))
    bits = torch.tensor([0x7FC00001, -1, 0, 0x7F800000, -0x80000000], dtype=torch.int32).view(torch.float32)  # NaNs with payloads, -0.0

    def exchange(rank: int) -> list[int]:
        output = torch.zeros(10)
        groups[rank].all_gather(output, bits.clone()).wait()
        return output.view(torch.int32).tolist()

    assert members(2, exchange) == [bits.view(torch.int32).tolist() * 2] * 2


def test_a_wait_lets_go_when_another_thread_aborts(make: Make):
    groups = make(flags_for(2))
    output = torch.zeros(2)
    pending = groups[0].all_gather(output, torch.ones(1))
    waits = threading.Event()
    groups[0].on_wait = lambda waiting: waits.set()
    aborting = threading.Thread(target=lambda: (waits.wait(), groups[0].abort()))
    aborting.start()
    with pytest.raises(GroupBroken):
        pending.wait()
    aborting.join()
    with pytest.raises(GroupBroken):
        pending.wait()
    assert not groups[0].usable
    with pytest.raises(GroupBroken):
        groups[0].all_gather(output, torch.ones(1)).wait()


def test_an_abort_before_anything_is_under_way_breaks_what_comes(make: Make):
    flags = flags_for(2)
    groups = make(flags)
    groups[0].abort()
    with pytest.raises(GroupBroken):
        groups[0].all_gather(torch.zeros(2), torch.ones(1)).wait()


def test_it_goes_on_in_a_later_generation_and_obeys_that_flag_alone(make: Make):
    firsts, seconds = flags_for(2), flags_for(2)
    groups = make(firsts)

    def meet(rank: int) -> None:
        groups[rank].all_gather(torch.zeros(2), torch.ones(1)).wait()

    assert members(2, meet) == [None, None] and all(group.usable for group in groups)
    for group, flag in zip(groups, seconds, strict=True):
        group.rebind(flag)
    firsts[0].set()
    assert members(2, meet) == [None, None]
    seconds[0].set()
    assert not groups[0].usable
    with pytest.raises(GroupBroken, match="form another one"):
        groups[0].rebind(threading.Event())


def test_it_is_not_usable_while_something_is_under_way_nor_when_it_is_closed(make: Make):
    groups = make(flags_for(2))
    under_way = [group.all_gather(torch.zeros(2), torch.ones(1)) for group in groups]
    assert not any(group.usable for group in groups)
    members(2, lambda rank: under_way[rank].wait())
    assert all(group.usable for group in groups)
    groups[0].close()
    groups[0].close()
    assert not groups[0].usable
    with pytest.raises(GroupBroken):
        groups[0].all_gather(torch.zeros(2), torch.ones(1)).wait()
