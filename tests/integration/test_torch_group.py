"""gloo as a Group: the answers of the in-memory one, waits that let go when told to and not before, and nothing left of what is over."""

import itertools
import signal
import socket
import threading
import time

import pytest
import torch
from group_peers import begin_two_large_operations, form_and_be_late, held, join, meet_once, peers, strike_in_the_middle

from disttrain.collectives.port import GroupBroken
from disttrain.collectives.run_store import RunStore, StoreGone
from disttrain.collectives.store_server import StoreAddress, StoreServer
from disttrain.collectives.threads import thread_groups
from disttrain.collectives.torch_group import TorchGroup

pytestmark = pytest.mark.faults
_numbers = itertools.count()


@pytest.fixture(scope="module")
def store():
    server = StoreServer("127.0.0.1")
    connection = RunStore(server.address)
    yield connection
    connection.close()
    server.close()


@pytest.fixture
def generation() -> str:
    return f"g{next(_numbers)}"


def together(size: int, store, generation: str, work, flags=None, patience_s: float = 10.0) -> dict:
    """Run `work(group)` as each of `size` members, each on a thread; what each returned, or the exception it raised."""
    results: dict = {}
    flags = flags or [threading.Event() for _ in range(size)]

    def member(rank: int) -> None:
        group = None
        try:
            group = join(store.address, generation, rank, size, flags[rank], patience_s)
            results[rank] = work(group)
        except Exception as error:
            results[rank] = error
        finally:
            if group is not None:
                group.close()

    threads = [threading.Thread(target=member, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    return results


def until_it_is_there(store, key: str) -> None:
    pause = threading.Event()
    while not store.check([key]):
        pause.wait(0.01)


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


def test_gloo_answers_as_the_group_in_memory_does(store, generation):
    over_gloo = together(3, store, generation, exchange)
    in_memory: dict = {}

    def member(group) -> None:
        in_memory[group.rank] = exchange(group)

    threads = [threading.Thread(target=member, args=(group,)) for group in thread_groups(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert over_gloo == in_memory


# -- how a wait ends ----------------------------------------------------------------------------------------------------------------------


def test_a_wait_lets_go_when_the_generation_is_aborted(store, generation):
    let_go = threading.Event()

    def work(group):
        if group.rank == 1:
            let_go.wait()  # never comes
            return "done"
        pending = group.all_gather(torch.empty(2), torch.ones(1))
        threading.Timer(0.2, group.abort).start()
        try:
            pending.wait()
        finally:
            let_go.set()

    results = together(2, store, generation, work)
    assert isinstance(results[0], GroupBroken) and results[1] == "done"


def test_a_late_member_is_waited_for_beyond_any_limit_of_gloo(store, generation):
    def work(group):
        if group.rank == 1:
            until_it_is_there(store, f"{generation}/2/arrived")  # the others have left gloo to wait in the store
        outputs = [torch.empty(6) for _ in range(3)]
        under_way = [group.all_gather(output, torch.full((2,), 10.0 * group.rank + n)) for n, output in enumerate(outputs)]
        for pending in under_way:
            pending.wait()
        return [output.tolist() for output in outputs], group.usable, exchange(group)[0]

    results = together(3, store, generation, work, patience_s=0.2)
    gathered = [[0.0 + n, 0.0 + n, 10.0 + n, 10.0 + n, 20.0 + n, 20.0 + n] for n in range(3)]
    assert all(result == (gathered, True, [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]) for result in results.values()), results


def test_an_operation_that_passes_its_limit_while_its_member_computes_is_repeated(store, generation):
    passed = threading.Event()

    def work(group):
        output, mine = torch.empty(2), torch.full((1,), float(group.rank))
        if group.rank == 1:
            passed.wait()
            group.all_gather(output, mine).wait()
            return output.tolist()
        pending = group.all_gather(output, mine)
        while not pending.work.is_completed():  # computing, and not looking at it
            passed.wait(0.05)
        passed.set()
        pending.wait()
        return output.tolist()

    assert together(2, store, generation, work, patience_s=0.2) == {0: [0.0, 1.0], 1: [0.0, 1.0]}


@pytest.mark.leaves_behind("processes")  # the server of forked processes
def test_a_late_member_that_dies_is_not_waited_for(store, generation):
    with peers(form_and_be_late, range(1, 2), store.address, generation, 2) as others:
        group = join(store.address, generation, 0, 2)
        pending = group.all_gather(torch.empty(2), torch.ones(1))
        killer = threading.Thread(target=lambda: (until_it_is_there(store, f"{generation}/2/arrived"), others[0].kill()))
        killer.start()
        with pytest.raises(GroupBroken):
            pending.wait()
        killer.join()
        group.close()


def test_a_frozen_member_is_let_go_of_by_an_abort_while_it_is_waited_for_in_the_store(store, generation):
    flag = threading.Event()
    with peers(strike_in_the_middle, range(1, 2), store.address, generation, 2, signal.SIGSTOP):
        group = join(store.address, generation, 0, 2, flag)
        meet_once(group)
        begin_two_large_operations(group)
        pending = group.all_gather(torch.empty(2), torch.ones(1))  # to which nobody else comes
        threading.Timer(0.5, flag.set).start()
        with pytest.raises(GroupBroken):
            pending.wait()
        assert not group.usable
        group.close()


def test_who_watches_is_told_of_waits_that_have_to_wait(store, generation):
    let_go = threading.Event()

    def work(group):
        meet_once(group)
        seen: list[bool] = []
        if group.rank == 1:
            let_go.wait()
            meet_once(group)
            group.broadcast(torch.empty(1), 0).wait()
            return seen

        def watch(waiting: bool) -> None:
            seen.append(waiting)
            let_go.set()

        group.on_wait = watch
        meet_once(group)
        done = group.broadcast(torch.empty(1), 0)
        while not done.work.is_completed():
            let_go.wait(0)
        done.wait()
        return seen

    assert together(2, store, generation, work)[0] == [True, False]


# -- forming ------------------------------------------------------------------------------------------------------------------------------


def test_forming_lets_go_when_a_member_never_comes(store, generation):
    flag = threading.Event()
    threading.Timer(0.3, flag.set).start()
    with pytest.raises(GroupBroken, match="while it formed"):
        join(store.address, generation, 0, 2, flag)


def test_forming_lets_go_when_a_member_came_and_died(store, generation):
    flag = threading.Event()
    store.add(f"{generation}/1/arrived", 1)
    store.set(f"{generation}/1/member1", "0 127.0.0.1 1")
    with pytest.raises(GroupBroken, match="could not be formed"):
        join(store.address, generation, 0, 2, flag)


def test_forming_ends_with_the_store(generation):
    own = StoreServer("127.0.0.1")
    connection = RunStore(own.address)
    own.close()
    with pytest.raises(GroupBroken, match="could not be formed"):
        TorchGroup(connection, generation, 0, 2, "127.0.0.1", threading.Event())


def test_a_store_that_is_not_there_is_an_error_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(StoreGone, match="nothing answers"):
        RunStore(StoreAddress("127.0.0.1", port, b"secret"))


# -- keeping it, and letting go of it -----------------------------------------------------------------------------------------------------


def test_a_group_goes_on_in_a_later_generation_with_another_flag(store, generation):
    firsts, seconds = [threading.Event() for _ in range(2)], [threading.Event() for _ in range(2)]

    def work(group):
        meet_once(group)
        group.rebind(seconds[group.rank])
        firsts[group.rank].set()  # of an older generation, so void
        meet_once(group)
        before = group.usable
        seconds[group.rank].set()
        with pytest.raises(GroupBroken):
            group.rebind(firsts[group.rank])
        return before, group.usable

    assert together(2, store, generation, work, firsts) == {0: (True, False), 1: (True, False)}


def test_a_group_with_an_operation_under_way_is_not_usable(store, generation):
    def work(group):
        pending = group.all_gather(torch.empty(2), torch.ones(1))
        during = group.usable
        pending.wait()
        after = group.usable
        meet_once(group)
        group.close()
        group.close()
        with pytest.raises(GroupBroken):
            meet_once(group)
        return during, after, group.usable

    assert together(2, store, generation, work) == {0: (False, True, False), 1: (False, True, False)}


def test_nothing_is_left_of_many_generations_that_ended_well(store, generation):
    def work(group):
        for pending in begin_two_large_operations(group):
            pending.wait()
        return "done"  # and it closes at once, whether or not the others are as far

    def live(number: int) -> None:
        size = 2 + number % 2
        assert together(size, store, f"{generation}.{number}", work) == dict.fromkeys(range(size), "done")

    for number in range(3):
        live(number)
    threads, files, megabytes = held()
    for number in range(3, 23):
        live(number)
    threads_after, files_after, megabytes_after = settled(threads, files + 4)
    # A few files: the server of the store, which is here too, notices a closed connection a moment later. Kept, they would be hundreds.
    assert threads_after <= threads and files_after <= files + 4 and megabytes_after < megabytes + 4


def settled(threads: int, files: int, limit_s: float = 300.0) -> tuple[int, int, float]:
    """What is held once the threads that let go of the last generations are through; a leak never comes that far down."""
    end = time.monotonic() + limit_s
    now = held()
    while (now[0] > threads or now[1] > files) and time.monotonic() < end:
        time.sleep(0.2)
        now = held()
    return now


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=lambda number: number.name)
def test_nothing_is_left_of_many_generations_that_broke_in_the_middle_of_large_operations(store, generation, number):
    def break_one(count: int) -> None:
        size, flag = 2 + count % 2, threading.Event()
        with peers(strike_in_the_middle, range(1, size), store.address, f"{generation}.{count}", size, number):
            group = join(store.address, f"{generation}.{count}", 0, size, flag)
            meet_once(group)
            under_way = begin_two_large_operations(group) + begin_two_large_operations(group)
            if number == signal.SIGSTOP:
                threading.Timer(0.1, flag.set).start()  # as the driver does, who misses its beat
            with pytest.raises(GroupBroken):
                for pending in under_way:
                    pending.wait()
            group.close()

    for count in range(3):
        break_one(count)
    threads, files, megabytes = held()
    for count in range(3, 15):
        break_one(count)
    threads_after, files_after, megabytes_after = settled(threads, files + 4)
    assert threads_after <= threads and files_after <= files + 4 and megabytes_after < megabytes + 4
