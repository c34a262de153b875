"""gloo as a Group: the same answers as the in-memory one, and waits that let go when told to."""

import socket
import threading
import time

import pytest
import torch

from disttrain.collectives.port import GroupBroken
from disttrain.collectives.threads import thread_groups
from disttrain.collectives.torch_group import TorchGroup, reach_store, serve_store

pytestmark = pytest.mark.leaves_behind("threads")  # gloo keeps threads of its own, and dead groups are kept on purpose


@pytest.fixture(scope="module")
def store():
    return serve_store("127.0.0.1")


def together(size: int, store, generation: str, work) -> dict:
    """Run `work(group)` as each of `size` members, each on a thread; what each returned, or the exception it raised."""
    results: dict = {}
    flags = [threading.Event() for _ in range(size)]

    def member(rank: int) -> None:
        try:
            connection = reach_store("127.0.0.1", store.port)
            results[rank] = work(TorchGroup(connection, generation, rank, size, "127.0.0.1", "gloo", flags[rank]))
        except Exception as error:
            results[rank] = error

    threads = [threading.Thread(target=member, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    return results


def exchange(group) -> list:
    gathered, sent, told = torch.empty(3 * 2), torch.arange(3.0) + 10 * group.rank, torch.full((2,), float(group.rank))
    group.all_gather(gathered, told).wait()
    swapped = torch.empty(3)
    group.all_to_all(swapped, sent, [1, 1, 1], [1, 1, 1]).wait()
    uneven = torch.empty({0: 1, 1: 2, 2: 0}[group.rank] * 3)
    parts = [1, 2, 0]
    group.all_to_all(uneven, sent, [len(uneven) // 3] * 3, parts).wait()
    group.broadcast(told, 2).wait()
    return [gathered.tolist(), swapped.tolist(), uneven.tolist(), told.tolist()]


def test_gloo_answers_as_the_group_in_memory_does(store):
    over_gloo = together(3, store, "same", exchange)
    in_memory: dict = {}

    def member(group) -> None:
        in_memory[group.rank] = exchange(group)

    threads = [threading.Thread(target=member, args=(group,)) for group in thread_groups(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert over_gloo == in_memory


def test_a_wait_lets_go_when_the_generation_is_aborted(store):
    def work(group):
        if group.rank == 0:
            threading.Timer(0.2, group.abort).start()
            group.all_gather(torch.empty(2), torch.ones(1)).wait()  # rank 1 never comes
        else:
            time.sleep(0.5)
        return "done"

    results = together(2, store, "abort", work)
    assert isinstance(results[0], GroupBroken) and results[1] == "done"


def test_forming_lets_go_when_a_member_never_comes(store):
    flag = threading.Event()
    threading.Timer(0.3, flag.set).start()
    with pytest.raises(GroupBroken, match="while it formed"):
        TorchGroup(reach_store("127.0.0.1", store.port), "lonely", 0, 2, "127.0.0.1", "gloo", flag)


def test_a_store_that_is_not_there_is_an_error_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises((RuntimeError, ConnectionError)):
        torch.distributed.TCPStore("127.0.0.1", port, is_master=False, timeout=__import__("datetime").timedelta(seconds=1))
