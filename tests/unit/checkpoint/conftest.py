"""A run directory on disk and in memory, and the shortest way to save into it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from disttrain.checkpoint import (
    Arena,
    Attempt,
    CommitName,
    CommittedCheckpoint,
    NamedArray,
    ShardReport,
    Store,
    commit,
    new_save_nonce,
    record_resume,
    save_folder,
    shard_path,
    snapshot,
    split,
    start_attempt,
    write_shard,
)

Arrays = Mapping[str, NamedArray]


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "local":
        yield Store(str(tmp_path / "run"))
        return
    root = f"memory://{secrets.token_hex(8)}"
    yield Store(root)
    memory = fsspec.filesystem("memory")
    if memory.exists(root):
        memory.rm(root, recursive=True)


@pytest.fixture
def arrays() -> dict[str, NamedArray]:
    return {
        "model/dense.kernel": NamedArray.from_numpy(np.arange(12, dtype=np.float32).reshape(4, 3)),
        "model/dense.bias": NamedArray("BF16", (3,), np.arange(6, dtype=np.uint8)),
        "optimizer/step": NamedArray.from_numpy(np.array(7, dtype=np.int64)),
        "optimizer/slot": NamedArray.from_numpy(np.zeros((0, 5), dtype=np.float64)),
    }


@pytest.fixture
def started() -> Callable[[Store], Attempt]:
    """Starts an attempt that resumes from nothing."""

    def start(store: Store) -> Attempt:
        return record_resume(store, start_attempt(store, {}, fresh=False), None)

    return start


@pytest.fixture
def write_shards() -> Callable[..., list[ShardReport]]:
    def write(store: Store, arrays: Arrays, name: CommitName, writers: int = 2) -> list[ShardReport]:
        folder = save_folder(name, new_save_nonce())
        reports = []
        for writer, pieces in enumerate(split([array.spec(key) for key, array in arrays.items()], writers)):
            with snapshot(arrays, pieces, Arena()) as shot:
                reports.append(write_shard(store, shard_path(folder, writer, writers), shot))
        return reports

    return write


@pytest.fixture
def save(write_shards: Callable[..., list[ShardReport]]) -> Callable[..., CommittedCheckpoint]:
    def run(
        store: Store, attempt: Attempt, sequence: int, arrays: Arrays, step: int | None = None, writers: int = 2
    ) -> CommittedCheckpoint:
        step = sequence * 10 if step is None else step
        reports = write_shards(store, arrays, CommitName(attempt.number, sequence, step), writers)
        return commit(store, attempt, sequence, step, reports, [array.spec(key) for key, array in arrays.items()], {"epoch": sequence})

    return run
