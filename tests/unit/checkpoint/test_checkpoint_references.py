"""Pieces whose bytes have not changed lie in the files of an earlier save; nothing that is needed goes, and nothing wrong is loaded."""

from __future__ import annotations

from pathlib import Path

import format_reader
import numpy as np
import pytest

from disttrain.checkpoint import (
    Arena,
    Attempt,
    CommitName,
    NamedArray,
    ShardReport,
    Store,
    commit,
    list_checkpoints,
    load,
    new_save_nonce,
    plan_deletions,
    read_history,
    record_resume,
    references,
    save_folder,
    shard_path,
    snapshot,
    split,
    start_attempt,
    sweep,
    verify,
    write_shard,
)
from disttrain.checkpoint.layout import DATA
from disttrain.checkpoint.manifest import Manifest
from disttrain.checkpoint.reader import read_manifest
from disttrain.checkpoint.sealed import seal, unseal
from disttrain.errors import CheckpointCorrupt

FROZEN, TRAINED = 90_000, 10_000


def state(step: int) -> dict[str, NamedArray]:
    """Nine tenths of it are frozen."""
    return {
        "model/frozen": NamedArray.from_numpy(np.arange(FROZEN, dtype=np.uint8).reshape(90, 1000)),
        "model/trained": NamedArray.from_numpy(np.full(TRAINED, step, np.uint8)),
        "model/small": NamedArray.from_numpy(np.arange(9, dtype=np.uint8)),
    }


def begun(store: Store) -> Attempt:
    return record_resume(store, start_attempt(store, {}, fresh=False), None)


def save(store: Store, attempt: Attempt, step: int, before: list[ShardReport] | None = None, writers: int = 2) -> list[ShardReport]:
    arrays, name = state(step), CommitName(attempt.number, step, step)
    specs = [array.spec(key) for key, array in arrays.items()]
    folder, reports = save_folder(name, new_save_nonce()), []
    for writer, pieces in enumerate(split(specs, writers)):
        with snapshot(arrays, pieces, Arena()) as shot:
            reports.append(write_shard(store, shard_path(folder, writer, writers), shot, before[writer] if before else None))
    commit(store, attempt, step, step, reports, specs, {})
    return reports


def values(step: int) -> dict[str, bytes]:
    return {name: array.data.tobytes() for name, array in state(step).items()}


def loaded(store: Store, name: str) -> dict[str, bytes]:
    return {name: array.data.tobytes() for name, array in load(store, name).arrays.items()}


def nbytes(reports: list[ShardReport]) -> int:
    return sum(report.nbytes - report.header_bytes for report in reports)


def test_what_has_not_changed_is_not_written_again_and_loads_all_the_same(store: Store) -> None:
    attempt = begun(store)
    first = save(store, attempt, 1)
    second = save(store, attempt, 2, first)
    third = save(store, attempt, 3, second)
    assert nbytes(first) == FROZEN + TRAINED + 9 and nbytes(second) == nbytes(third) == TRAINED + 9
    assert {earlier.path for report in third for earlier in report.earlier} == {report.path for report in first if report.pieces}, "depth 1"
    for info in list_checkpoints(store):
        assert loaded(store, info.name) == values(info.step)
        verify(store, info.name)
    assert load(store, prefix="model/trained").arrays.keys() == {"model/trained"}


def test_a_stranger_reads_it_too_and_a_version_that_knows_no_references_is_told(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    attempt = begun(store)
    save(store, attempt, 2, save(store, attempt, 1))
    newest, oldest = (info.name for info in list_checkpoints(store))
    assert {name: data for name, (_, _, data) in format_reader.restore(tmp_path, newest).items()} == values(2)
    versions = [unseal((tmp_path / f"checkpoints/commits/{name}.json").read_bytes(), name)["version"] for name in (newest, oldest)]
    assert versions == [2, 1]


def test_a_folder_stays_as_long_as_a_checkpoint_needs_it_and_goes_then(store: Store) -> None:
    attempt = begun(store)

    def prune() -> None:
        names = [info.name for info in list_checkpoints(store)]
        plan = plan_deletions(
            read_history(store), names, store.list(DATA), attempt=attempt.number, keep=1, refers=references(store, names)
        )  # fmt: skip
        sweep(store, attempt, plan)

    second = save(store, attempt, 2, save(store, attempt, 1))
    prune()
    (newest,) = read_history(store)
    assert len(store.list(DATA)) == 2 and loaded(store, newest) == values(2)
    save(store, attempt, 3, second)
    prune()
    (newest,) = read_history(store)
    assert len(store.list(DATA)) == 2 and loaded(store, newest) == values(3), "the second one's own is not needed"
    save(store, attempt, 4)
    prune()
    (newest,) = read_history(store)
    assert len(store.list(DATA)) == 1 and loaded(store, newest) == values(4)


@pytest.mark.parametrize("harm", ["flip", "cut", "missing"])
def test_harm_to_an_earlier_file_is_noticed_in_all_that_need_it(tmp_path: Path, harm: str) -> None:
    store = Store(str(tmp_path))
    attempt = begun(store)
    first = save(store, attempt, 1)
    save(store, attempt, 2, first)
    save(store, attempt, 3)
    path = tmp_path / first[0].path
    whole = path.read_bytes()
    {"flip": lambda: path.write_bytes(whole[:-1] + b"x"), "cut": lambda: path.write_bytes(whole[:-1]), "missing": path.unlink}[harm]()
    third, *others = (info.name for info in list_checkpoints(store))
    assert loaded(store, third) == values(3)
    for name in others:
        with pytest.raises(CheckpointCorrupt if harm != "missing" else Exception, match=r"damaged|missing"):
            load(store, name)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda body: body.update(version=1), "version 2"),
        (lambda body: body["files"][0]["earlier"][0].update(path="checkpoints/data/../../etc/passwd"), "a path such as"),
        (lambda body: body["files"][0]["earlier"][0].update(path=body["files"][0]["path"]), "earlier saves alone"),
        (lambda body: body["files"][0]["earlier"][0].update(bytes=10), "pieces that lie in its 10 bytes"),
        (lambda body: body["files"][0].update(earlier=[]), "earlier files as a list of some"),
        (lambda body: body["files"][0]["earlier"].append(body["files"][0]["earlier"][0]), "each row of each tensor once"),
    ],
)
def test_a_manifest_that_refers_to_what_it_may_not_is_refused(tmp_path: Path, harm, words: str) -> None:
    store = Store(str(tmp_path))
    attempt = begun(store)
    save(store, attempt, 2, save(store, attempt, 1))
    name = list_checkpoints(store)[0].name
    body = unseal((tmp_path / f"checkpoints/commits/{name}.json").read_bytes(), name)
    Manifest.from_bytes(seal(body), name)
    harm(body)
    with pytest.raises(CheckpointCorrupt, match=words):
        Manifest.from_bytes(seal(body), name)


def test_pieces_of_other_writers_and_other_bytes_are_written(store: Store) -> None:
    attempt = begun(store)
    first = save(store, attempt, 1, writers=2)
    alone = save(store, attempt, 2, first[:1], writers=1)
    assert nbytes(alone) > TRAINED and loaded(store, list_checkpoints(store)[0].name) == values(2)
    assert read_manifest(store, list_checkpoints(store)[0].name).name.step == 2
