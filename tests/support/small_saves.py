"""The shortest way to save into a run directory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

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


def some_arrays() -> dict[str, NamedArray]:
    """Of several dtypes, one of them without elements."""
    return {
        "model/dense.kernel": NamedArray.from_numpy(np.arange(12, dtype=np.float32).reshape(4, 3)),
        "model/dense.bias": NamedArray("BF16", (3,), np.arange(6, dtype=np.uint8)),
        "optimizer/step": NamedArray.from_numpy(np.array(7, dtype=np.int64)),
        "optimizer/slot": NamedArray.from_numpy(np.zeros((0, 5), dtype=np.float64)),
    }


def started(store: Store) -> Attempt:
    """An attempt that resumes from nothing."""
    return record_resume(store, start_attempt(store, {}, fresh=False), None)


def write_shards(store: Store, arrays: Arrays, name: CommitName, writers: int = 2) -> list[ShardReport]:
    """The files of one save."""
    folder = save_folder(name, new_save_nonce())
    reports = []
    for writer, pieces in enumerate(split([array.spec(key) for key, array in arrays.items()], writers)):
        with snapshot(arrays, pieces, Arena()) as shot:
            reports.append(write_shard(store, shard_path(folder, writer, writers), shot))
    return reports


def save(
    store: Store, attempt: Attempt, sequence: int, arrays: Arrays, step: int | None = None, writers: int = 2
) -> CommittedCheckpoint:  # fmt: skip
    """A checkpoint."""
    step = sequence * 10 if step is None else step
    reports = write_shards(store, arrays, CommitName(attempt.number, sequence, step), writers)
    return commit(store, attempt, sequence, step, reports, [array.spec(key) for key, array in arrays.items()], {"epoch": sequence})
