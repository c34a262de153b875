from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from disttrain.checkpoint import Attempt, CommittedCheckpoint, NamedArray, Store
from disttrain.checkpoint.layout import commit_path
from disttrain.checkpoint.manifest import Manifest
from disttrain.checkpoint.reader import read_manifest
from disttrain.checkpoint.sealed import seal, unseal
from disttrain.errors import CheckpointCorrupt, CheckpointError, CheckpointIncomplete, CheckpointMismatch


@pytest.fixture
def manifest(
    store: Store, arrays: dict[str, NamedArray], started: Callable[[Store], Attempt], save: Callable[..., CommittedCheckpoint]
) -> Manifest:
    return read_manifest(store, save(store, started(store), 1, arrays).name)


def changed(manifest: Manifest, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The manifest with a change and a digest that fits: what a hostile or buggy writer could make."""
    body = unseal(manifest.to_bytes(), "manifest")
    change(body)
    return seal(body)


def test_a_manifest_reads_back_equal(manifest: Manifest) -> None:
    assert Manifest.from_bytes(manifest.to_bytes(), "m") == manifest
    assert manifest.extra == {"epoch": 1}


def test_a_newer_format_is_refused_by_its_version(manifest: Manifest) -> None:
    def newer(body: dict[str, Any]) -> None:
        body.update(version=3, invented="later")

    with pytest.raises(CheckpointMismatch, match=r"m cannot be read: its format is newer(.|\n)*version 2 or older(.|\n)*version 3"):
        Manifest.from_bytes(changed(manifest, newer), "m")


def test_a_missing_shard_is_named(manifest: Manifest) -> None:
    with pytest.raises(CheckpointIncomplete, match=r"2 files, as .*w01-of-02.safetensors says"):
        replace(manifest, files=manifest.files[1:])


def test_a_missing_tensor_and_missing_rows_are_named(manifest: Manifest) -> None:
    first, second = manifest.files
    cut = replace(second, pieces=second.pieces[:-1], nbytes=second.nbytes - second.pieces[-1].nbytes)
    with pytest.raises(CheckpointIncomplete, match=r"is missing|are missing"):
        replace(manifest, files=(first, cut))


def test_rows_that_are_there_twice_are_refused(manifest: Manifest) -> None:
    first, second = manifest.files
    with pytest.raises(CheckpointCorrupt, match="are there twice"):
        replace(manifest, files=(first, replace(first, path=second.path)))


def test_files_of_two_tries_to_save_are_not_mixed(manifest: Manifest) -> None:
    first, second = manifest.files
    with pytest.raises(CheckpointCorrupt, match="in one folder"):
        replace(manifest, files=(first, replace(second, path=re.sub("-[0-9a-f]{16}/", f"-{'0' * 16}/", second.path))))


Change = Callable[[dict[str, Any]], None]
HOSTILE: dict[str, Change] = {
    "no step": lambda b: b.pop("step"),
    "one field more": lambda b: b.update(surprise=1),
    "another format": lambda b: b.update(format="zip"),
    "version 0": lambda b: b.update(version=0),
    "a version in words": lambda b: b.update(version="1"),
    "a negative step": lambda b: b.update(step=-1),
    "attempt true": lambda b: b.update(attempt=True),
    "attempt 0": lambda b: b.update(attempt=0),
    "another step than its files": lambda b: b.update(step=11),
    "a list for tensors": lambda b: b.update(tensors=[]),
    "a number for extra": lambda b: b.update(extra=3),
    "a path out of the store": lambda b: b["files"][0].update(path="../../../etc/passwd"),
    "a file of another save": lambda b: b["files"][0].update(path=b["files"][0]["path"].replace("a0001", "a0002")),
    "one writer twice": lambda b: b["files"][0].update(path=b["files"][1]["path"]),
    "an unknown dtype": lambda b: b["tensors"]["model/dense.bias"].update(dtype="F128"),
    "a wider dtype": lambda b: b["tensors"]["model/dense.bias"].update(dtype="F64"),
    "a huge shape": lambda b: b["tensors"]["model/dense.bias"].update(shape=[1 << 60]),
    "a longer shape": lambda b: b["tensors"]["model/dense.bias"].update(shape=[4]),
    "a shape of fractions": lambda b: b["tensors"]["model/dense.bias"].update(shape=[3.0]),
    "a tensor more": lambda b: b["tensors"].update(more={"dtype": "F32", "shape": [1]}),
    "a tensor less": lambda b: b["tensors"].pop("model/dense.bias"),
    "pieces over each other": lambda b: b["files"][1]["pieces"][1].__setitem__(3, b["files"][1]["pieces"][0][3]),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_manifests_with_a_fitting_digest_are_refused(manifest: Manifest, change: Change) -> None:
    with pytest.raises(CheckpointError):
        Manifest.from_bytes(changed(manifest, change), "m")


def test_a_manifest_under_another_name_is_refused(store: Store, manifest: Manifest) -> None:
    store.create(commit_path("step-000000000099-a0009-s0001"), manifest.to_bytes())
    with pytest.raises(CheckpointCorrupt, match="expected  the manifest of step-000000000099-a0009-s0001"):
        read_manifest(store, "step-000000000099-a0009-s0001")


def test_an_unknown_name_lists_the_nearest(store: Store, manifest: Manifest) -> None:
    with pytest.raises(CheckpointIncomplete, match=rf"has no checkpoint 'step-10'(.|\n)*try       {manifest.name}"):
        read_manifest(store, "step-10")
