from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from disttrain.checkpoint import (
    Attempt,
    CommittedCheckpoint,
    NamedArray,
    Store,
    list_checkpoints,
    load,
    load_newest,
    read_history,
    record_resume,
    start_attempt,
    verify,
)
from disttrain.checkpoint.layout import commit_path
from disttrain.checkpoint.reader import read_manifest
from disttrain.checkpoint.sealed import seal, unseal
from disttrain.errors import CheckpointCorrupt, CheckpointIncomplete, CheckpointMismatch

Started = Callable[[Store], Attempt]
Save = Callable[..., CommittedCheckpoint]
Arrays = dict[str, NamedArray]


def damage(store: Store, path: str, position: int) -> None:
    data = bytearray(store.read(path))
    data[position] ^= 1
    store.put(path, bytes(data))


def data_file(store: Store, name: str) -> str:
    return read_manifest(store, name).files[0].path


def test_the_newest_checkpoint_is_loaded_when_none_is_named(store: Store, arrays: Arrays, started: Started, save: Save) -> None:
    attempt = started(store)
    for sequence in (1, 2, 3):
        save(store, attempt, sequence, arrays)
    assert [info.step for info in list_checkpoints(store)] == [30, 20, 10]
    assert load(store).manifest.name.step == 30


def test_one_flipped_bit_of_data_names_the_tensor_and_the_file(store: Store, arrays: Arrays, started: Started, save: Save) -> None:
    name = save(store, started(store), 1, arrays).name
    path = data_file(store, name)
    damage(store, path, store.size(path) - 1)
    with pytest.raises(CheckpointCorrupt, match=rf"{path} is damaged.\n  expected  digest [0-9a-f]+ of model/dense.bias rows 0 to 3"):
        load(store, name)
    with pytest.raises(CheckpointCorrupt, match="is damaged"):
        verify(store, name)


def test_damage_in_the_padding_of_a_header_is_noticed_too(store: Store, arrays: Arrays, started: Started, save: Save) -> None:
    name = save(store, started(store), 1, arrays).name
    damage(store, data_file(store, name), 4095)
    with pytest.raises(CheckpointCorrupt, match="a header of digest"):
        load(store, name)


def test_a_damaged_newest_checkpoint_is_skipped_and_the_reason_kept(store: Store, arrays: Arrays, started: Started, save: Save) -> None:
    attempt = started(store)
    names = [save(store, attempt, sequence, arrays).name for sequence in (1, 2, 3, 4)]
    damage(store, data_file(store, names[3]), 5000 % store.size(data_file(store, names[3])))
    store.delete(data_file(store, names[2]))
    damage(store, commit_path(names[1]), 90)
    newest = load_newest(store, read_history(store))
    assert newest is not None
    assert str(newest.manifest.name) == names[0]
    assert [reason.split(":")[0] for reason in newest.skipped] == [names[3], names[2], names[1]]
    assert "is missing" in newest.skipped[1]


def test_no_whole_checkpoint_left_is_an_error_not_a_fresh_start(store: Store, arrays: Arrays, started: Started, save: Save) -> None:
    name = save(store, started(store), 1, arrays).name
    store.put(commit_path(name), b"")
    with pytest.raises(CheckpointCorrupt, match=r"none of its 1 checkpoints is whole(.|\n)*start fresh on purpose"):
        load_newest(store, read_history(store))


def test_no_checkpoint_at_all_is_none_to_resume_and_an_error_to_load(store: Store) -> None:
    assert load_newest(store, read_history(store)) is None
    with pytest.raises(CheckpointIncomplete, match="no checkpoint to resume from"):
        load(store)


def test_a_newer_format_is_not_skipped_for_an_older_checkpoint(store: Store, arrays: Arrays, started: Started, save: Save) -> None:
    attempt = started(store)
    save(store, attempt, 1, arrays)
    name = save(store, attempt, 2, arrays).name
    store.put(commit_path(name), seal({**unseal(store.read(commit_path(name)), "m"), "version": 3}))
    with pytest.raises(CheckpointMismatch, match="newer"):
        load(store)


def test_a_storage_fault_is_raised_not_skipped(
    store: Store, arrays: Arrays, started: Started, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = started(store)
    save(store, attempt, 1, arrays)
    save(store, attempt, 2, arrays)
    history = read_history(store)

    def fail(*_: object) -> bytes:
        raise ConnectionResetError("503")

    monkeypatch.setattr(store.files, "read_ranges", fail)
    with pytest.raises(ConnectionResetError):
        load_newest(store, history)


def test_arrays_under_a_prefix_alone_are_read(store: Store, arrays: Arrays, started: Started, save: Save) -> None:
    name = save(store, started(store), 1, arrays).name
    assert sorted(load(store, name, prefix="model/").arrays) == ["model/dense.bias", "model/dense.kernel"]


def test_arrays_are_read_into_memory_that_fits(store: Store, arrays: Arrays, started: Started, save: Save) -> None:
    name = save(store, started(store), 1, arrays).name
    kernel, wrong = np.zeros((4, 3), np.float32), np.zeros(4, np.float32)
    into = {"model/dense.kernel": NamedArray.from_numpy(kernel), "optimizer/step": NamedArray.from_numpy(wrong)}
    loaded = load(store, name, into=into).arrays
    assert np.array_equal(kernel, np.arange(12).reshape(4, 3))
    assert loaded["model/dense.kernel"] is into["model/dense.kernel"]
    assert loaded["optimizer/step"].to_numpy() == 7
    assert not wrong.any()


def test_files_that_are_no_commits_are_not_listed(store: Store, arrays: Arrays, started: Started, save: Save) -> None:
    save(store, started(store), 1, arrays)
    for name in ("latest.json", "step-1.json", "step-000000000010-a0001-s0001.json.bak"):
        store.put(f"checkpoints/commits/{name}", b"")
    assert len(list_checkpoints(store)) == 1


def test_verify_reads_a_whole_checkpoint(store: Store, arrays: Arrays, started: Started, save: Save) -> None:
    assert verify(store, save(store, started(store), 1, arrays).name).name.step == 10


def test_a_takeover_resumes_and_later_commits_of_the_zombie_do_not_count(
    store: Store, arrays: Arrays, started: Started, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    zombie = started(store)
    first = save(store, zombie, 1, arrays).name
    second = record_resume(store, start_attempt(store, {}, fresh=False), first)
    # a commit that was under way in the instant of the takeover: it passed the check before
    listing = store.files.list
    with monkeypatch.context() as patch:
        patch.setattr(store.files, "list", lambda folder: [name for name in listing(folder) if not name.startswith("00000002")])
        late = save(store, zombie, 2, arrays).name
    assert read_history(store) == [first]
    own = save(store, second, 1, arrays, step=15).name
    assert read_history(store) == [own, first]
    assert late in [info.name for info in list_checkpoints(store)]
