from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from disttrain.checkpoint import Arena, CommitName, NamedArray, Piece, Store, save_folder, shard_path, snapshot, write_shard
from disttrain.checkpoint.arrays import DTYPES, TensorSpec
from disttrain.checkpoint.shards import ShardReport
from disttrain.errors import CheckpointCorrupt

PATH = shard_path(save_folder(CommitName(1, 1, 0), "0" * 16), 0, 1)


def whole(arrays: dict[str, NamedArray]) -> list[Piece]:
    return [Piece(name, 0, array.spec(name).rows) for name, array in arrays.items()]


def test_a_shard_is_a_safetensors_file_that_other_tools_read(tmp_path: Path) -> None:
    values = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(True), "c": np.zeros((0, 2)), "d": np.array([1 + 2j])}
    arrays = {name: NamedArray.from_numpy(value) for name, value in values.items()}
    write_shard(Store(str(tmp_path)), PATH, snapshot(arrays, [*whole(arrays)[1:], Piece("a", 1, 2)], Arena()))
    found = load_file(tmp_path / PATH)
    assert sorted(found) == ["a[1:2]", "b", "c", "d"]
    assert np.array_equal(found["a[1:2]"], [[3, 4, 5]])
    assert found["b"].shape == () and bool(found["b"])
    assert found["c"].shape == (0, 2)
    assert np.array_equal(found["d"], [[1, 2]])  # complex128 as pairs of float64


def test_data_begins_on_a_page_and_every_piece_is_aligned_to_its_elements(tmp_path: Path) -> None:
    arrays = {dtype: NamedArray.empty(TensorSpec(dtype, dtype, (3,))) for dtype in DTYPES}
    report = write_shard(Store(str(tmp_path)), PATH, snapshot(arrays, whole(arrays), Arena()))
    assert report.header_bytes % 4096 == 0
    head = (tmp_path / PATH).read_bytes()[: report.header_bytes]
    assert int.from_bytes(head[:8], "little") == report.header_bytes - 8
    for name, entry in json.loads(head[8:]).items():
        if name != "__metadata__":
            assert entry["data_offsets"][0] % DTYPES[entry["dtype"]].item_bytes == 0


def test_a_snapshot_does_not_see_what_training_writes_afterwards(arrays: dict[str, NamedArray]) -> None:
    before = arrays["model/dense.kernel"].data.tobytes()
    shot = snapshot(arrays, [Piece("model/dense.kernel", 0, 4)], Arena())
    arrays["model/dense.kernel"].data[:] = 0
    assert shot.data.tobytes() == before


def test_the_arena_is_kept_page_aligned_and_holds_one_snapshot(arrays: dict[str, NamedArray]) -> None:
    arena = Arena()
    with snapshot(arrays, whole(arrays), arena) as first:
        address = first.data.ctypes.data
        assert address % 4096 == 0
        with pytest.raises(RuntimeError, match="not released"):
            snapshot(arrays, whole(arrays), arena)
    with snapshot(arrays, [Piece("model/dense.bias", 0, 1)], arena) as second:
        assert (second.data.ctypes.data, second.data.size) == (address, 2)


def test_a_piece_of_nothing_there_is_refused_with_the_nearest_names(arrays: dict[str, NamedArray]) -> None:
    arena = Arena()
    with pytest.raises(ValueError, match=r"'model/dense.kernal', which is not among the arrays; nearest: model/dense.kernel"):
        snapshot(arrays, [Piece("model/dense.kernal", 0, 1)], arena)
    with pytest.raises(ValueError, match="expected rows from 0 to 4"):
        snapshot(arrays, [Piece("model/dense.kernel", 3, 5)], arena)
    assert not arena.in_use


def test_two_pieces_of_one_name_are_refused() -> None:
    arrays = {"a": NamedArray.from_numpy(np.zeros(4)), "a[0:2]": NamedArray.from_numpy(np.zeros(1))}
    with pytest.raises(ValueError, match=r"two entries of a file would be named 'a\[0:2\]'"):
        write_shard(Store("memory://unused"), PATH, snapshot(arrays, [Piece("a", 0, 2), Piece("a[0:2]", 0, 1)], Arena()))


def test_a_report_crosses_as_json(store: Store, arrays: dict[str, NamedArray]) -> None:
    report = write_shard(store, PATH, snapshot(arrays, whole(arrays), Arena()))
    assert ShardReport.from_json(json.loads(json.dumps(report.to_json()))) == report
    assert report.nbytes == store.size(PATH) == report.header_bytes + 48 + 6 + 8


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("path", "../../etc/passwd"),
        ("path", 3),
        ("bytes", -1),
        ("bytes", 1.0),
        ("header_bytes", 1 << 40),
        ("header_digest", "zz"),
        ("pieces", [["model/dense.bias", 0, 3, 4097, 6, "0" * 32]]),
        ("pieces", [["model/dense.bias", 0, 3, 4096, True, "0" * 32]]),
        ("pieces", []),
        ("pieces", {}),
    ],
)
def test_a_report_with_a_wrong_field_is_refused(field: str, value: object, store: Store, arrays: dict[str, NamedArray]) -> None:
    report = write_shard(store, PATH, snapshot(arrays, [Piece("model/dense.bias", 0, 3)], Arena()))
    with pytest.raises(CheckpointCorrupt, match="described wrongly"):
        ShardReport.from_json({**report.to_json(), field: value})
