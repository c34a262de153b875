"""What the runtime relies on in torch.distributed without a promise: a new torch that takes one of these away is told by its name.

Each test is one line of the list in `disttrain/collectives/compat.py`, or, at the end, in `nccl.py`.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from disttrain.collectives import compat, nccl
from disttrain.collectives.compat import Gloo

LONG_S = 3600


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Gloo]]:
    """Two members in this process, whose group has a time limit of a second: an operation that outlasts it has one of its own."""
    monkeypatch.setattr(compat, "CONNECTING", timedelta(seconds=1))
    store, made = dist.HashStore(), queue.SimpleQueue[tuple[int, Gloo]]()
    threads = [threading.Thread(target=lambda rank=rank: made.put((rank, Gloo(store, rank, 2, "127.0.0.1")))) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    members = [member for _, member in sorted([made.get_nowait(), made.get_nowait()], key=lambda item: item[0])]
    yield members
    for member in members:
        member.cut()


OPERATIONS: dict[str, Callable[[Gloo], Any]] = {
    "_allgather_base": lambda member: member.all_gather(torch.empty(2), torch.ones(1), LONG_S),
    "alltoall_base": lambda member: member.all_to_all(torch.empty(2), torch.ones(2), [1, 1], [1, 1], LONG_S),
    "broadcast": lambda member: member.broadcast(torch.ones(1), 0, LONG_S),
}


@pytest.mark.parametrize("names", ["_devices", "_timeout", "_threads"])
def test_the_options_of_gloo_have_the_field(names: str):
    assert hasattr(dist.ProcessGroupGloo._Options(), names)


@pytest.mark.parametrize("kind", [compat.c10d.AllgatherOptions, dist.AllToAllOptions, dist.BroadcastOptions])
def test_the_options_of_a_collective_have_a_time_limit(kind: Any):
    options = kind()
    options.timeout = timedelta(seconds=5)
    assert options.timeout == timedelta(seconds=5)


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_limit_in_its_options_is_the_one_that_a_collective_has(pair: list[Gloo], name: str):
    first = OPERATIONS[name](pair[0 if name != "broadcast" else 1])
    assert not pair[0].complete_within(first, timedelta(seconds=1.5))  # longer than the limit of its group
    second = OPERATIONS[name](pair[1 if name != "broadcast" else 0])
    first.wait()
    second.wait()


def test_a_wait_that_times_out_changes_nothing(pair: list[Gloo]):
    output = torch.empty(2)
    first = pair[0].all_gather(output, torch.zeros(1), LONG_S)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            first.wait(timedelta(milliseconds=1))
        assert not first.is_completed()
    pair[1].all_gather(torch.empty(2), torch.ones(1), LONG_S).wait()
    first.wait()
    assert output.tolist() == [0.0, 1.0]


def test_a_work_that_failed_is_complete_and_raises_at_each_wait(pair: list[Gloo]):
    work = pair[0].all_gather(torch.empty(2), torch.ones(1), LONG_S)
    pair[0].cut()
    assert pair[0].complete_within(work, timedelta(seconds=30))
    for _ in range(2):
        with pytest.raises(RuntimeError):
            work.wait()


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_receive_that_times_out_cuts_the_group_on_both_sides(pair: list[Gloo], name: str):
    works = [(pair[0], OPERATIONS[name](pair[0])) for _ in range(4)] if name != "broadcast" else []
    theirs = pair[1].broadcast(torch.empty(1), 0, LONG_S)
    pair[0].cut()
    for member, work in [*works, (pair[1], theirs)]:
        assert member.complete_within(work, timedelta(seconds=30)), name
        with pytest.raises(RuntimeError):
            work.wait()
    pair[0].cut()  # again: nothing to do, nothing raised


def test_a_wait_returns_with_its_operation_however_long_its_patience(pair: list[Gloo]):
    works = [OPERATIONS["_allgather_base"](member) for member in pair]
    assert all(member.complete_within(work, timedelta(days=1)) for member, work in zip(pair, works, strict=True))


def test_the_destructor_of_a_cut_group_ends_and_lets_other_threads_run(pair: list[Gloo]):
    works = [OPERATIONS["_allgather_base"](pair[0]) for _ in range(4)]
    pair[0].cut()
    assert all(pair[0].complete_within(work, timedelta(seconds=30)) for work in works)
    works.clear()
    dropped = threading.Thread(target=pair.pop, args=(0,))
    dropped.start()
    dropped.join(timeout=300)
    assert not dropped.is_alive()


def test_a_store_says_at_once_whether_a_key_is_there():
    store = dist.PrefixStore("g/", dist.HashStore())
    assert not store.check(["all"])
    store.set("all", "here")
    assert store.check(["all"]) and store.multi_get(["all"]) == [b"here"] and store.add("arrived", 1) == 1


def test_a_work_tells_its_error_without_a_wait(pair: list[Gloo]):
    work = pair[0].all_gather(torch.empty(2), torch.ones(1), LONG_S)
    assert hasattr(work, "get_future_result") and work.exception() is None
    pair[0].cut()
    assert pair[0].complete_within(work, timedelta(seconds=30))
    assert isinstance(work.exception(), RuntimeError)


@pytest.mark.parametrize("name", ["_allgather_base", "alltoall_base", "broadcast", "abort", "shutdown", "eager_connect_single_device"])
def test_a_backend_has_what_the_group_over_nccl_calls(name: str):
    assert hasattr(getattr(dist, "ProcessGroupNCCL", dist.ProcessGroup if name in _COLLECTIVES else compat.c10d.Backend), name)


_COLLECTIVES = ("_allgather_base", "alltoall_base", "broadcast")


def test_what_nccl_reads_of_the_environment_is_known_to_this_torch():
    header = Path(torch.__file__).parent / "include/torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp"
    if not header.exists():
        pytest.skip("this build of torch brings no headers")
    known = header.read_text() + (header.parent / "FlightRecorder.hpp").read_text() + (header.parent / "NCCLUtils.hpp").read_text()
    names = [name for name in nccl._ENVIRONMENT if name != "TORCH_NCCL_NONBLOCKING_TIMEOUT"]  # read in a file of which there is no header
    assert [name for name in names if name not in known] == []
    assert "nccl_nonblocking_timeout" in known and "waitReady" in known
