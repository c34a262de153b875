"""An object store that refuses for a while is asked again; a disk, and an error that no moment mends, are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from disttrain.checkpoint import (
    Arena,
    Attempt,
    CommitName,
    NamedArray,
    Store,
    commit,
    insist,
    load,
    save_folder,
    shard_path,
    snapshot,
    split,
    write_shard_insistently,
)
from disttrain.errors import StorageUnavailable
from disttrain.testing.fake_clock import FakeClock

MEMORY = "memory://insisting"


def insisting(store: Store, faults: list[BaseException], until_s: float = 300.0) -> tuple[Any, float]:
    """(what came of work that fails so often, the seconds that went by)."""
    clock = FakeClock()

    def work() -> str:
        if faults:
            raise faults.pop(0)
        return "done"

    try:
        return insist(work, store, until_s, clock, clock.advance), clock.monotonic_s()
    except Exception as error:
        return error, clock.monotonic_s()


def test_an_object_store_is_asked_again_after_pauses_that_grow() -> None:
    assert insisting(Store(MEMORY), [OSError("503 slow down")] * 7) == ("done", 1 + 2 + 4 + 8 + 16 + 30 + 30)


def test_it_is_asked_until_the_time_is_over() -> None:
    error, seconds = insisting(Store(MEMORY), [OSError("503")] * 99, until_s=20.0)
    assert str(error) == "503" and seconds == 1 + 2 + 4 + 8


@pytest.mark.parametrize("fault", [StorageUnavailable("the disk quota is used up"), FileExistsError("somebody else's")])
def test_what_no_moment_mends_is_asked_once(fault: Exception) -> None:
    assert insisting(Store(MEMORY), [fault]) == (fault, 0.0)


def test_a_disk_is_asked_once(tmp_path: Path) -> None:
    fault = OSError(5, "input/output error")
    assert insisting(Store(str(tmp_path)), [fault]) == (fault, 0.0)


def test_replies_that_get_lost_cost_no_save(started: Callable[[Store], Attempt], arrays: dict[str, NamedArray], store: Store) -> None:
    """Both the file and the commit are there, though both tries are said to have failed."""
    if store.is_local:
        pytest.skip("a disk loses no replies")
    clock, attempt, lost = FakeClock(), started(store), ["write", "create"]

    class Lossy:
        def __init__(self, files: Any) -> None:
            self._files = files

        def __getattr__(self, name: str) -> Any:
            return getattr(self._files, name)

        def _lossy(self, name: str, *arguments: Any) -> Any:
            done = getattr(self._files, name)(*arguments)
            if name in lost:
                lost.remove(name)
                raise TimeoutError("no reply")
            return done

        def write(self, *arguments: Any) -> None:
            self._lossy("write", *arguments)

        def create(self, *arguments: Any) -> Any:
            return self._lossy("create", *arguments)

    store.files = Lossy(store.files)
    specs = [array.spec(name) for name, array in arrays.items()]
    path = shard_path(save_folder(CommitName(1, 1, 10), "0" * 16), 0, 1)
    with snapshot(arrays, split(specs, 1)[0], Arena()) as shot:
        report = write_shard_insistently(store, path, shot, 60.0, clock, clock.advance)
    done = insist(lambda: commit(store, attempt, 1, 10, [report], specs, {}), store, 60.0, clock, clock.advance)
    assert not lost and clock.monotonic_s() == 2.0
    assert {name: array.data.tobytes() for name, array in load(store, done.name).arrays.items()} == {
        name: array.data.tobytes() for name, array in arrays.items()
    }
