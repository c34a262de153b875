"""Each real server does what the commit protocol needs, or says that it does not."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from small_saves import save, some_arrays, started
from store_servers import Served
from store_suite import StoreSuite

from disttrain.checkpoint import (
    NamedArray,
    Store,
    list_checkpoints,
    load,
    load_newest,
    newest_whole,
    plan_deletions,
    read_history,
    record_resume,
    references,
    start_attempt,
    sweep,
)
from disttrain.checkpoint.layout import DATA
from disttrain.errors import CheckpointCorrupt, CheckpointIncomplete

pytestmark = [pytest.mark.stores, pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")]  # aiohttp's, of bytes


def held(arrays: dict[str, NamedArray]) -> dict[str, bytes]:
    return {name: array.data.tobytes() for name, array in arrays.items()}


class TestServers(StoreSuite):
    """What a disk and memory do; and what is known of each server is true."""

    def test_create_makes_a_file_once(self, store: Store, served: Served) -> None:  # type: ignore[override]
        if not served.refuses:
            pytest.skip(f"{served.kind} creates it twice, which the probe says")
        super().test_create_makes_a_file_once(store)

    def test_the_probe_says_whether_what_exists_is_created_again(self, store: Store, served: Served) -> None:
        assert store.probe() is served.refuses
        assert store.list("") == []

    def test_of_many_that_create_one_file_at_once_one_is_told_that_it_did(self, store: Store, served: Served) -> None:
        if not served.refuses:
            pytest.skip(f"{served.kind} lets everybody create it, which the probe says")
        won: list[int] = []
        start = threading.Barrier(8)

        def create(number: int) -> None:
            start.wait()
            if store.create("attempts/00000001.json", b"by %d" % number):
                won.append(number)

        threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert store.read("attempts/00000001.json") == b"by %d" % won[0]

    def test_a_reader_of_what_is_replaced_sees_the_old_or_the_new(self, store: Store, served: Served) -> None:
        if not served.swaps:
            pytest.skip(f"{served.kind} shows parts; only hints for people are ever replaced")
        bodies = [bytes([number]) * 300_000 for number in range(8)]
        store.put("status.json", bodies[0])
        done, seen = threading.Event(), set[bytes]()

        def read() -> None:
            while not done.is_set():
                seen.add(store.read("status.json"))

        thread = threading.Thread(target=read)
        thread.start()
        for body in bodies * 3:
            store.put("status.json", body)
        done.set()
        thread.join()
        assert seen <= set(bodies)


def test_a_checkpoint_comes_back_with_every_byte(store: Store) -> None:
    arrays = some_arrays() | {"large": NamedArray.from_numpy(np.random.default_rng(0).integers(0, 255, 9 << 20, np.uint8))}
    done = save(store, started(store), 1, arrays)
    assert [info.name for info in list_checkpoints(store)] == [done.name] == read_history(store)
    assert held(load(store, done.name).arrays) == held(arrays)


def test_a_damaged_newest_is_passed_over_for_the_one_before(store: Store) -> None:
    arrays, attempt = some_arrays(), started(store)
    first, second = (save(store, attempt, sequence, arrays) for sequence in (1, 2))
    (folder,) = (name for name in store.list(DATA) if name.startswith(second.name))
    path = f"{DATA}/{folder}/{store.list(f'{DATA}/{folder}')[0]}"
    whole = store.read(path)
    store.put(path, whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CheckpointCorrupt, match="is damaged"):
        load(store, second.name)
    found = newest_whole(store, read_history(store))
    assert found is not None and str(found.manifest.name) == first.name and list(found.skipped) == [second.name]
    store.delete(path)
    with pytest.raises(CheckpointIncomplete, match="missing"):
        load(store, second.name)
    newest = load_newest(store, read_history(store))
    assert newest is not None and held(newest.arrays) == held(arrays)


def test_retention_deletes_there_what_it_planned_and_nothing_else(store: Store) -> None:
    arrays, attempt = some_arrays(), started(store)
    names = [save(store, attempt, sequence, arrays).name for sequence in range(1, 5)]
    history = read_history(store)
    plan = plan_deletions(
        history, names, store.list(DATA), attempt=attempt.number, keep=2, refers=references(store, names)
    )  # fmt: skip
    sweep(store, attempt, plan)
    assert [info.name for info in list_checkpoints(store)] == names[:1:-1]
    assert [name.rsplit("-", 1)[0] for name in store.list(DATA)] == names[2:]
    for name in names[2:]:
        assert held(load(store, name).arrays) == held(arrays)


def test_what_a_driver_commits_after_another_took_over_counts_for_nothing(store: Store) -> None:
    arrays, first = some_arrays(), started(store)
    old = save(store, first, 1, arrays)
    second = record_resume(store, start_attempt(store, {}, fresh=False), old.name)
    with pytest.raises(Exception, match="superseded"):
        save(store, first, 2, arrays)
    new = save(store, second, 1, arrays)
    assert read_history(store) == [new.name, old.name]
