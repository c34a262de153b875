"""Requests that fail on their way to a real server, and a server that dies: nothing is lost, nothing wrong is loaded or there twice."""

from __future__ import annotations

import itertools
import random
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from small_saves import some_arrays, started
from store_servers import Served

from disttrain.checkpoint import (
    Arena,
    CommitName,
    CommittedCheckpoint,
    Store,
    commit,
    insist,
    list_checkpoints,
    load,
    read_history,
    save_folder,
    shard_path,
    snapshot,
    split,
    write_shard_insistently,
)
from disttrain.checkpoint.layout import DATA
from disttrain.testing.fake_clock import FakeClock

pytestmark = [
    pytest.mark.stores,
    pytest.mark.faults,
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
]  # aiohttp's, of bytes
OBJECT_STORES = ("ministack", "moto")  # Azure's own client waits 15 s and more before it asks again
through_http = pytest.mark.parametrize("served", OBJECT_STORES, indirect=True)


class Saver:
    """One attempt, and saves that insist; time passes when they pause."""

    def __init__(self, store: Store) -> None:
        self.store, self.attempt, self.sequence, self.clock = store, started(store), 0, FakeClock()
        self.on_pause: Callable[[], None] = lambda: None

    def pause(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.on_pause()

    def save(self) -> str:
        arrays = some_arrays()
        specs = [array.spec(name) for name, array in arrays.items()]
        self.sequence += 1
        folder = save_folder(CommitName(self.attempt.number, self.sequence, self.sequence), secrets.token_hex(8))
        until, reports = self.clock.monotonic_s() + 1000, []
        for writer, pieces in enumerate(split(specs, 2)):
            with snapshot(arrays, pieces, Arena()) as shot:
                reports.append(write_shard_insistently(self.store, shard_path(folder, writer, 2), shot, until, self.clock, self.pause))

        def committed() -> CommittedCheckpoint:
            return commit(self.store, self.attempt, self.sequence, self.sequence, reports, specs, {})

        return insist(committed, self.store, until, self.clock, self.pause).name


def is_whole(store: Store, name: str) -> bool:
    expected = {key: array.data.tobytes() for key, array in some_arrays().items()}
    return {key: array.data.tobytes() for key, array in load(store, name).arrays.items()} == expected


@through_http
@pytest.mark.parametrize("fault", ["503", "reset", "lost", "cut", "half reply"])
def test_a_request_of_a_save_that_fails_costs_a_retry_and_nothing_else(served: Served, place: str, proxied: Any, fault: str) -> None:
    saver, rng = Saver(Store(place)), random.Random(0)
    with proxied(place) as proxy:
        saver.store = Store(place)
        proxy.fails = lambda request: fault if rng.random() < 0.25 else None
        names = [saver.save() for _ in range(4)]
        proxy.fails = lambda request: None
    assert proxy.struck
    sound = Store(place)
    assert [info.name for info in list_checkpoints(sound)] == names[::-1] == read_history(sound)
    assert all(is_whole(sound, name) for name in names)


@through_http
@pytest.mark.parametrize("record", ["commits/", "attempts/"])
def test_a_create_whose_reply_is_lost_is_known_for_ones_own(served: Served, place: str, proxied: Any, record: str) -> None:
    with proxied(place) as proxy:
        seen = itertools.count()
        proxy.fails = lambda request: "lost" if request.startswith("PUT ") and record in unquoted(request) and next(seen) == 0 else None
        saver = Saver(Store(place))
        name = saver.save()
        assert [fault for fault, _ in proxy.struck] == ["lost"]
    assert read_history(Store(place)) == [name] and is_whole(Store(place), name)
    assert saver.attempt.number == 1


def unquoted(request: str) -> str:
    from urllib.parse import unquote

    return unquote(request)


@through_http
@pytest.mark.parametrize("fault", ["503", "reset", "half reply"])
def test_an_error_while_reading_is_never_taken_for_damage(served: Served, place: str, proxied: Any, fault: str) -> None:
    name = Saver(Store(place)).save()
    with proxied(place) as proxy:
        proxy.fails = lambda request: fault if request.startswith("GET ") and DATA in unquoted(request) else None
        store = Store(place)
        with pytest.raises(Exception) as raised:
            load(store, name)
        assert proxy.struck and not type(raised.value).__module__.startswith("disttrain"), raised.value
    assert is_whole(Store(place), name)


@pytest.mark.leaves_behind("processes")  # the server that came back serves the other tests
@pytest.mark.parametrize("served", ["ministack"], indirect=True)  # moto forgets all that it held
def test_a_server_that_is_killed_in_the_middle_of_a_save_and_comes_back_has_it_all(served: Served, place: str, proxied: Any) -> None:
    saver = Saver(Store(place))
    first = saver.save()
    with proxied(place) as proxy:
        saver.store, puts = Store(place), itertools.count()
        proxy.fails = lambda request: "reset" if request.startswith("PUT ") and next(puts) >= 1 else None

        def comes_back() -> None:
            served.restart()
            proxy.fails = lambda request: None

        saver.on_pause = comes_back
        second = saver.save()
        assert proxy.struck
    store = Store(place)
    assert read_history(store) == [second, first] and is_whole(store, first) and is_whole(store, second)
