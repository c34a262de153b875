"""A save killed at each of its steps: what was committed before still loads, and a new attempt goes on from there."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from disttrain.checkpoint import (
    CommittedCheckpoint,
    NamedArray,
    Store,
    list_checkpoints,
    load,
    load_newest,
    plan_deletions,
    read_history,
    record_resume,
    start_attempt,
    sweep,
)
from disttrain.checkpoint.layout import DATA

Save = Callable[..., CommittedCheckpoint]


class Killed(BaseException):
    """The process is gone: nothing after this is done, no cleanup either."""


class KilledFiles:
    """Storage of a process that dies at its k-th change: before it, after it, or in the middle of a big file."""

    def __init__(self, inner: Any, at: int, how: str) -> None:
        self.inner, self.left, self.how, self.dead = inner, at, how, False

    def __getattr__(self, name: str) -> Any:
        if self.dead:
            raise Killed
        return getattr(self.inner, name)

    def _change(self, act: Callable[[], Any], torn: Callable[[], Any]) -> Any:
        if self.dead:
            raise Killed
        self.left -= 1
        if self.left >= 0:
            return act()
        self.dead = True
        if self.how == "after":
            act()
        elif self.how == "torn":
            torn()
        raise Killed

    def create(self, path: str, data: bytes) -> bool:
        return bool(self._change(lambda: self.inner.create(path, data), lambda: None))

    def put(self, path: str, data: bytes) -> None:
        self._change(lambda: self.inner.put(path, data), lambda: None)

    def write(self, path: str, chunks: Sequence[Any]) -> None:
        half = [bytes(chunk)[: len(chunk) // 2] for chunk in chunks]
        self._change(lambda: self.inner.write(path, chunks), lambda: self.inner.write(path, half))

    def delete(self, path: str) -> None:
        self._change(lambda: self.inner.delete(path), lambda: None)

    def delete_folder(self, folder: str) -> None:
        names = self.inner.list(folder)
        self._change(lambda: self.inner.delete_folder(folder), lambda: self.inner.delete(f"{folder}/{names[0]}"))


def weights(step: int) -> dict[str, NamedArray]:
    return {"model/w": NamedArray.from_numpy(np.full((6, 2), step, np.float32)), "optimizer/t": NamedArray.from_numpy(np.array(step))}


def a_life(store: Store, save: Save, last: int) -> None:
    """One driver: start, resume, save up to sequence `last`, keep one."""
    attempt = start_attempt(store, {}, fresh=False)
    newest = load_newest(store, read_history(store))
    attempt = record_resume(store, attempt, str(newest.manifest.name) if newest else None)
    step = newest.manifest.name.step if newest else 0
    for sequence in range(1, last + 1):
        save(store, attempt, sequence, weights(step + sequence), step=step + sequence)
        names = [info.name for info in list_checkpoints(store)]
        sweep(store, attempt, plan_deletions(read_history(store), names, store.list(DATA), attempt=attempt.number, keep=1))


def newest_step(store: Store) -> int:
    """The step of what loads, every value checked, nothing skipped: a killed save must not even be seen."""
    newest = load_newest(store, read_history(store))
    if newest is None:
        return 0
    step = newest.manifest.name.step
    assert newest.skipped == []
    assert np.array_equal(newest.arrays["model/w"].to_numpy(), np.full((6, 2), step))
    assert newest.arrays["optimizer/t"].to_numpy() == step
    return step


@pytest.mark.parametrize("how", ["before", "after", "torn"])
def test_killed_at_any_change_of_the_store_the_last_committed_checkpoint_loads(store: Store, save: Save, how: str) -> None:
    a_life(store, save, 1)
    reached = newest_step(store)
    kills = 0
    for at in range(100):
        files = KilledFiles(store.files, at, how)
        try:
            a_life(Store(store.url, files=files), save, 3)
        except Killed:
            kills += 1
            step = newest_step(store)
            assert reached <= step <= reached + 3
            reached = step
        else:
            break
    assert kills >= 12  # two records, then three saves of two shards, a commit and a deletion or two
    assert newest_step(store) == reached + 3
    assert len(list_checkpoints(store)) == len(store.list(DATA)) == 1  # what the dead left behind has been swept


def test_killed_at_any_system_call_the_last_committed_checkpoint_loads(tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path / "run"))
    a_life(store, save, 1)
    reached, kills = newest_step(store), 0
    for at in range(400):
        calls = at

        def dying(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal calls
                calls -= 1
                if calls < 0:
                    raise Killed
                return real(*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            for name in ("link", "unlink", "mkdir", "write", "fsync", "replace"):
                patch.setattr(os, name, dying(getattr(os, name)))
            try:
                a_life(store, save, 2)
                survived = True
            except Killed:
                kills, survived = kills + 1, False
        step = newest_step(store)
        assert reached <= step <= reached + 2
        reached = step
        if survived:
            break
    assert survived
    assert kills > 30
    assert load(store).manifest.name.step == reached
