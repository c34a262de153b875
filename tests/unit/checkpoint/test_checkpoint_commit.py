from __future__ import annotations

from collections.abc import Callable

import pytest

from disttrain.checkpoint import (
    Attempt,
    CommitName,
    CommittedCheckpoint,
    NamedArray,
    ShardReport,
    Store,
    Superseded,
    commit,
    list_checkpoints,
    load,
    start_attempt,
)
from disttrain.errors import CheckpointCorrupt, CheckpointError, CheckpointIncomplete

Write = Callable[..., list[ShardReport]]
Started = Callable[[Store], Attempt]
Save = Callable[..., CommittedCheckpoint]


def specs_of(arrays: dict[str, NamedArray]) -> list:
    return [array.spec(name) for name, array in arrays.items()]


@pytest.mark.parametrize("writers", [1, 2, 3, 7])
def test_what_any_number_of_writers_saved_loads_as_the_same_bytes(
    store: Store, arrays: dict[str, NamedArray], started: Started, save: Save, writers: int
) -> None:
    done = save(store, started(store), 1, arrays, writers=writers)
    loaded = load(store, done.name)
    assert done.name == "step-000000000010-a0001-s0001"
    assert loaded.manifest.extra == {"epoch": 1}
    assert {name: (a.dtype, a.shape, a.data.tobytes()) for name, a in loaded.arrays.items()} == {
        name: (a.dtype, a.shape, a.data.tobytes()) for name, a in arrays.items()
    }


def test_before_the_commit_there_is_no_checkpoint(
    store: Store, arrays: dict[str, NamedArray], started: Started, write_shards: Write
) -> None:
    started(store)
    write_shards(store, arrays, CommitName(1, 1, 10))
    assert list_checkpoints(store) == []


def test_a_missing_report_is_no_checkpoint(store: Store, arrays: dict[str, NamedArray], started: Started, write_shards: Write) -> None:
    reports = write_shards(store, arrays, CommitName(1, 1, 10))
    with pytest.raises(CheckpointIncomplete, match="w01"):
        commit(store, started(store), 1, 10, reports[1:], specs_of(arrays), {})
    assert list_checkpoints(store) == []


def test_a_file_that_vanished_or_shrank_is_no_checkpoint(
    store: Store, arrays: dict[str, NamedArray], started: Started, write_shards: Write
) -> None:
    reports, attempt = write_shards(store, arrays, CommitName(1, 1, 10)), started(store)
    store.put(reports[0].path, b"short")
    with pytest.raises(CheckpointCorrupt, match="found     5 bytes"):
        commit(store, attempt, 1, 10, reports, specs_of(arrays), {})
    store.delete(reports[0].path)
    with pytest.raises(CheckpointIncomplete, match=r"w00-of-02.safetensors is missing"):
        commit(store, attempt, 1, 10, reports, specs_of(arrays), {})
    assert list_checkpoints(store) == []


def test_a_superseded_driver_commits_nothing(store: Store, arrays: dict[str, NamedArray], started: Started, write_shards: Write) -> None:
    zombie = started(store)
    reports = write_shards(store, arrays, CommitName(1, 1, 10))
    start_attempt(store, {}, fresh=False)
    with pytest.raises(Superseded, match=r"attempt 1 of .* has been superseded"):
        commit(store, zombie, 1, 10, reports, specs_of(arrays), {})
    assert list_checkpoints(store) == []


def test_an_attempt_that_recorded_no_resume_commits_nothing(store: Store, arrays: dict[str, NamedArray], write_shards: Write) -> None:
    attempt = start_attempt(store, {}, fresh=False)
    with pytest.raises(CheckpointError, match="call record_resume"):
        commit(store, attempt, 1, 10, write_shards(store, arrays, CommitName(1, 1, 10)), specs_of(arrays), {})


def test_a_name_is_committed_once(store: Store, arrays: dict[str, NamedArray], started: Started, save: Save) -> None:
    attempt = started(store)
    first = save(store, attempt, 1, arrays)
    with pytest.raises(CheckpointError, match="the name is taken"):
        save(store, attempt, 1, arrays)
    assert load(store, first.name).manifest.extra == {"epoch": 1}


def test_extra_that_is_no_json_is_refused_before_anything_is_written(
    store: Store, arrays: dict[str, NamedArray], started: Started, write_shards: Write
) -> None:
    reports = write_shards(store, arrays, CommitName(1, 1, 10))
    with pytest.raises(ValueError, match=r"body\['extra'\]\['f'\] is a builtins.object"):
        commit(store, started(store), 1, 10, reports, specs_of(arrays), {"f": object()})


def test_a_reply_lost_after_the_commit_leaves_a_checkpoint_that_loads(
    store: Store, arrays: dict[str, NamedArray], started: Started, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = started(store)
    create = store.files.create

    def lossy(path: str, data: bytes) -> bool:
        create(path, data)
        raise TimeoutError("no reply")

    monkeypatch.setattr(store.files, "create", lossy)
    with pytest.raises(TimeoutError):
        save(store, attempt, 1, arrays)
    monkeypatch.undo()
    assert [info.sequence for info in list_checkpoints(store)] == [1]
    assert load(store).manifest.name.step == 10
    assert save(store, attempt, 2, arrays).name == "step-000000000020-a0001-s0002"
