"""NCCL as a Group, over a process group with NCCL's manners: waits that hand on only what is whole, aborts by other threads, ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import torch
from mutation import mutated
from nccl_like import GARBAGE, Library, MemoryStore, environment, members, nccl_group, nccl_groups

from disttrain.collectives import nccl_group as module
from disttrain.collectives.nccl import prepare_environment
from disttrain.collectives.nccl_group import NcclGroup
from disttrain.collectives.port import GroupBroken


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    with environment():
        yield


def gather(group: NcclGroup) -> tuple[Any, torch.Tensor]:
    output = torch.zeros(2)
    return group.all_gather(output, torch.full((1,), float(group.rank + 1))), output


@contextmanager
def formed(library: Library, flags: list[threading.Event] | None = None, **options: Any) -> Iterator[list[NcclGroup]]:
    """The two members of a group, closed at the end."""
    groups = nccl_groups(library, 2, flags, **options)
    try:
        yield groups
    finally:
        for group in groups:
            group.close()


def until(library: Library, *events: tuple[str, int]) -> None:
    """Return when these are part of the history."""
    while not set(events) <= set(library.history):
        threading.Event().wait(0.001)


# -- what a wait promises: each as a check that a mutation of the group must fail ---------------------------------------------------------


def check_a_slow_kernel_is_waited_for(kind: type[NcclGroup]) -> None:
    with formed(Library(looks=300), kind=kind) as groups:
        under_way = [gather(group) for group in groups]
        for pending, output in under_way:
            pending.wait()
            assert output.tolist() == [1.0, 2.0]


def check_what_an_abort_completes_is_not_handed_on(kind: type[NcclGroup]) -> None:
    library = Library()
    with formed(library, kind=kind) as groups:
        pending, output = gather(groups[0])
        looks: list[int] = []

        def abort_between_two_looks(rank: int) -> None:
            looks.append(rank)
            if len(looks) == 3:
                groups[0].abort()
                until(library, ("aborted", 0))  # by a thread of its own

        library.on_look = abort_between_two_looks
        broken = False
        try:
            pending.wait()
        except GroupBroken:
            broken = True
        library.on_look = lambda rank: None
        assert broken and output.view(torch.uint8).unique().tolist() != [GARBAGE]


def check_what_an_abort_ends_is_heard_of(kind: type[NcclGroup]) -> None:
    library, flags = Library(), [threading.Event() for _ in range(2)]
    with formed(library, flags, kind=kind) as groups:
        pending, _ = gather(groups[0])
        looks: list[int] = []

        def flag_at_the_third_look(rank: int) -> None:
            looks.append(rank)
            if len(looks) == 3:
                flags[0].set()
            if len(looks) == 100:
                raise RuntimeError("still asked, long after the flag was up")

        library.on_look = flag_at_the_third_look
        said = ""
        try:
            pending.wait()
        except GroupBroken as broken:
            said = str(broken)
        library.on_look = lambda rank: None
        assert said == "the generation was aborted"


def check_an_error_that_comes_late_breaks_the_group(kind: type[NcclGroup]) -> None:
    library = Library()
    with formed(library, kind=kind) as groups:
        aborting: list[threading.Thread] = []
        library.on_abort = lambda rank: aborting.append(threading.current_thread())
        pending, _ = gather(groups[0])
        library.fail(0, "NCCL error: remote process exited or there was a network error")
        said = ""
        try:
            pending.wait()
        except GroupBroken as broken:
            said = str(broken)
        assert "remote process exited" in said
        assert threading.main_thread() not in aborting, "the thread that waits made the abort itself, which may not return"


def check_the_flag_is_up_before_the_communicator_ends(kind: type[NcclGroup]) -> None:
    library, flags = Library(), [threading.Event() for _ in range(2)]
    with formed(library, flags, kind=kind) as groups:
        seen: list[bool] = []
        library.on_abort = lambda rank: seen.append(flags[rank].is_set())
        pending, _ = gather(groups[0])
        aborting = threading.Thread(target=groups[0].abort)
        aborting.start()
        with suppress(GroupBroken):
            pending.wait()
        aborting.join()
        groups[0].close()
        assert seen == [True]


def check_nothing_is_under_way_when_a_broken_wait_returns(kind: type[NcclGroup]) -> None:
    library, flags = Library(), [threading.Event() for _ in range(2)]
    with formed(library, flags, kind=kind) as groups:
        library.on_abort = lambda rank: threading.Event().wait(0.05)  # as the driver of a GPU takes its time
        pending, _ = gather(groups[0])
        flags[0].set()
        with suppress(GroupBroken):
            pending.wait()
        ended = ("aborted", 0) in library.history
        until(library, ("aborted", 0))
        assert ended


CHECKS: list[Callable[[type[NcclGroup]], None]] = [
    check_a_slow_kernel_is_waited_for,
    check_what_an_abort_completes_is_not_handed_on,
    check_what_an_abort_ends_is_heard_of,
    check_an_error_that_comes_late_breaks_the_group,
    check_the_flag_is_up_before_the_communicator_ends,
    check_nothing_is_under_way_when_a_broken_wait_returns,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_group_keeps_what_it_promises(check: Callable[[type[NcclGroup]], None]):
    check(NcclGroup)


SECOND_LOOK = """            if self._aborted.is_set():  # what an abort has completed holds garbage
                raise GroupBroken("the generation was aborted")
"""
ERROR = """            error = error_of(work)
            if error is not None:
                raise GroupBroken(error)
"""
FLAG_FIRST = """        self._aborted.set()  # before the communicator ends: who sees a work complete because of that must see this
        end = self._end
"""
FLAG_LAST = """        end = self._end
        threading.Timer(0.05, self._aborted.set).start()
"""
WITH_A_LIMIT = "                import datetime; work.wait(datetime.timedelta(milliseconds=20))\n"
MUTATIONS = {
    "no second look at the flag": (SECOND_LOOK, "", check_what_an_abort_completes_is_not_handed_on),
    "a wait in native code": ("                self._await(work)\n", "                work.wait()\n", check_what_an_abort_ends_is_heard_of),
    "a wait with a limit": ("                self._await(work)\n", WITH_A_LIMIT, check_a_slow_kernel_is_waited_for),
    "streams are not ordered": ("            work.wait()  # only", "            pass  # only", check_a_slow_kernel_is_waited_for),
    "no look at the error": (ERROR, "", check_an_error_that_comes_late_breaks_the_group),
    "the communicator ends before the flag is up": (FLAG_FIRST, FLAG_LAST, check_the_flag_is_up_before_the_communicator_ends),
    "the end is not waited for": ("            end.await_end(works)\n", "", check_nothing_is_under_way_when_a_broken_wait_returns),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_group_that_leaves_this_out_fails_its_check(name: str):
    line, instead, check = MUTATIONS[name]
    kind = mutated(module, line, instead).NcclGroup
    with pytest.raises((AssertionError, GroupBroken)):
        check(kind)


# -- ends ---------------------------------------------------------------------------------------------------------------------------------


def test_an_abort_that_does_not_return_ends_the_process():
    library, reasons, ended = Library(abort="hangs"), [], threading.Event()

    def end(reason: str) -> None:
        reasons.append(reason)
        ended.set()

    with formed(library, end_process=end, abort_within_s=0.05) as groups:
        pending, _ = gather(groups[0])
        groups[0].abort()
        with pytest.raises(GroupBroken):
            pending.wait()
        assert ended.wait(300) and "could not be aborted within 0.05 s" in reasons[0]
        library.let_go.set()


def test_an_abort_that_throws_with_something_under_way_ends_the_process():
    reasons: list[str] = []
    with formed(Library(abort="throws"), end_process=reasons.append, abort_within_s=0.2) as groups:
        pending, _ = gather(groups[0])
        groups[0].abort()
        with pytest.raises(GroupBroken):
            pending.wait()
        assert reasons and "ProcessGroup abort timed out" in reasons[0] and "the generation was aborted" in reasons[0]


def test_an_abort_that_throws_with_nothing_under_way_costs_nobody_a_process():
    library = Library(abort="throws")
    with formed(library) as groups:  # whose process nobody may end
        groups[0].abort()
        groups[0].close()
        assert not groups[0].usable and ("aborting", 0) in library.history


def test_a_group_that_ended_well_is_retired_and_not_aborted():
    library = Library()
    with formed(library) as groups:
        for pending, _ in [gather(group) for group in groups]:
            pending.wait()
        for group in groups:
            group.close()
        until(library, ("retired", 0), ("retired", 1))
        assert not [event for event, _ in library.history if event.startswith("abort")]


def test_an_error_of_the_gpu_goes_on_as_what_it_is():
    library = Library()
    with formed(library) as groups:
        pending, _ = gather(groups[0])
        error = torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered")

        def raising(rank: int) -> None:
            if rank == 0:
                raise error

        library.on_look = raising
        with pytest.raises(torch.AcceleratorError, match="ECC"):
            pending.wait()
        library.on_look = lambda rank: None
        with pytest.raises(GroupBroken):
            gather(groups[0])
        assert not groups[0].usable and ("aborting", 0) not in library.history  # nothing calls that GPU any more


def test_a_member_that_is_gone_is_not_waited_for():
    with formed(Library()) as groups:
        pending, _ = gather(groups[0])
        groups[1].close()
        with pytest.raises(GroupBroken, match="a member is gone"):
            pending.wait()


def test_the_flag_of_a_later_generation_counts_and_that_of_the_older_one_no_longer():
    firsts, seconds = [threading.Event() for _ in range(2)], [threading.Event() for _ in range(2)]
    with formed(Library(), firsts) as groups:
        for group, flag in zip(groups, seconds, strict=True):
            group.rebind(flag)
        firsts[0].set()
        for pending, output in [gather(group) for group in groups]:
            pending.wait()
            assert output.tolist() == [1.0, 2.0]
        seconds[0].set()
        with pytest.raises(GroupBroken):
            gather(groups[0])
        with pytest.raises(GroupBroken, match="form another one"):
            groups[0].rebind(threading.Event())


# -- forming ------------------------------------------------------------------------------------------------------------------------------


def test_connections_of_each_kind_are_made_by_the_thread_that_forms():
    library = Library()
    with formed(library):
        assert sorted(library.history) == [("connected", 0), ("connected", 1), ("made", 0), ("made", 1)]
        assert sorted(next(iter(library.wires.values())).operations) == [1, 2, 3]  # gathered, swapped, told


def test_a_communicator_that_says_that_it_still_connects_is_asked_again():
    with formed(Library(refusals=5)) as groups:
        for pending, output in [gather(group) for group in groups]:
            pending.wait()
            assert output.tolist() == [1.0, 2.0]


def test_no_thread_of_torch_that_ends_processes_is_started():
    library = Library()
    with formed(library):
        assert library.watchdogs == 0
    assert os.environ["TORCH_NCCL_ENABLE_MONITORING"] == "0" and os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"] == "0"


def test_a_member_that_is_told_to_leaves_while_nccl_connects_in_native_code():
    library, flag = Library(connects=False), threading.Event()
    made: list[Any] = []
    store = MemoryStore()
    forming = threading.Thread(
        target=lambda: made.extend(members(2, lambda rank: nccl_group(library, store, "g", rank, 2, flag, end_process=lambda reason: None)))
    )
    forming.start()
    until(library, ("made", 0), ("made", 1))
    flag.set()
    forming.join(300)
    assert not forming.is_alive() and all(isinstance(each, GroupBroken) and "while it formed" in str(each) for each in made)
    library.connects.set()  # and the threads that were left behind end what they have made
    until(library, ("aborted", 0), ("aborted", 1))


def test_a_communicator_that_brings_something_else_is_not_taken():
    library = Library(mixes_up=True)
    store = MemoryStore()
    made = members(2, lambda rank: nccl_group(library, store, "g", rank, 2, threading.Event(), end_process=lambda reason: None))
    assert all(isinstance(each, GroupBroken) for each in made) and any("a first exchange brought" in str(each) for each in made)
    until(library, ("aborted", 0), ("aborted", 1))


def test_the_environment_keeps_wishes_of_others_and_none_that_would_end_the_process():
    found = {"NCCL_SOCKET_IFNAME": "ib0", "TORCH_NCCL_ASYNC_ERROR_HANDLING": "3", "NCCL_DEBUG": "INFO"}
    prepare_environment("eth0", found)
    assert found["NCCL_SOCKET_IFNAME"] == "ib0" and found["NCCL_DEBUG"] == "INFO"
    assert found["TORCH_NCCL_ASYNC_ERROR_HANDLING"] == "0" and found["TORCH_NCCL_BLOCKING_WAIT"] == "1"
    empty: dict[str, str] = {}
    prepare_environment("eth0", empty)
    assert empty["NCCL_SOCKET_IFNAME"] == "=eth0"
    unknown: dict[str, str] = {}
    prepare_environment(None, unknown)
    assert "NCCL_SOCKET_IFNAME" not in unknown
