"""Arrays that are files: nothing of them travels but the name, and nothing is read that no sample needs."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from thread_runs import driven, make_model

from disttrain.data import source_of
from disttrain.data.mapped import mapped_file
from disttrain.elastic.shipping import pack, unpack
from disttrain.errors import DataError

ROWS = 200_000


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).normal(size=(ROWS, 6)).astype("float32"))
    return path


def nbytes(shipment) -> int:
    return len(shipment.pickled) + sum(len(buffer) for buffer in shipment.buffers)


VIEWS = {
    "whole": lambda x: x,
    "some rows": lambda x: x[1000:50_001],
    "every second": lambda x: x[::2],
    "columns": lambda x: x[:, 1:5],
    "as a plain array": lambda x: np.asarray(x)[5:],
    "with an axis more": lambda x: x[:, :, None],
}


@pytest.mark.parametrize("view", VIEWS)
def test_any_view_of_a_mapped_file_travels_by_name(file, view):
    array = VIEWS[view](np.load(file, mmap_mode="r"))
    shipment = pack({"x": array})
    assert nbytes(shipment) < 4096
    there = unpack(shipment)["x"]
    assert np.array_equal(there, array) and there.dtype == array.dtype and not there.flags.writeable
    rows = np.array([7, 3])
    assert source_of(there).fetch(rows, 0)[0].tolist() == source_of(np.array(array)).fetch(rows, 0)[0].tolist()


def test_a_dataset_that_holds_a_map_travels_without_it(file):
    class Held(torch.utils.data.Dataset):
        def __init__(self):
            self.x = np.load(file, mmap_mode="r")

        def __len__(self):
            return len(self.x)

        def __getitem__(self, i):
            return torch.tensor(self.x[i])

    shipment = pack(source_of(Held()))
    assert nbytes(shipment) < 20_000
    assert torch.equal(unpack(shipment).fetch(np.array([9]), 0)[0][0], torch.tensor(np.load(file)[9]))


def test_small_maps_private_copies_and_arrays_in_memory_travel_as_they_are(file, tmp_path):
    whole = np.load(file, mmap_mode="c")
    whole[0] = 7
    assert mapped_file(whole) is None and unpack(pack(whole))[0].tolist() == [7.0] * 6
    small = np.load(file, mmap_mode="r")[:5]
    assert nbytes(pack(small)) < 4096 and mapped_file(np.zeros(10)) is None
    os.remove(file)
    assert np.array_equal(unpack(pack(small)), small)


def test_what_was_written_into_a_map_is_there(tmp_path):
    array = np.memmap(tmp_path / "raw", dtype=np.int64, mode="w+", shape=(200_000,), offset=64)
    array[:] = np.arange(200_000)
    assert unpack(pack(array))[123_456] == 123_456


def test_a_file_that_is_not_there_or_another_is_named(file):
    shipment = pack(np.load(file, mmap_mode="r"))
    with file.open("ab") as more:
        more.write(b"more")
    with pytest.raises(DataError, match=r"x\.npy has 4800132 bytes on"):
        unpack(shipment)
    os.remove(file)
    with pytest.raises(DataError, match=r"cannot be opened on(.|\n)*every host sees(.|\n)*np\.array"):
        unpack(shipment)


def test_double_precision_is_read_row_by_row(tmp_path):
    np.save(tmp_path / "d.npy", np.random.default_rng(0).normal(size=(60_000, 4)))
    source = source_of(np.load(tmp_path / "d.npy", mmap_mode="r"))
    assert source.x.dtype == np.float64 and mapped_file(source.x) is not None
    expected = source_of(np.load(tmp_path / "d.npy")).fetch(np.array([5, 2]), 0)[0]
    for x in (source.fetch(np.array([5, 2]), 0)[0], source.fetch_run(2, 6)[0][[3, 0]]):
        assert x.dtype == torch.float32 and torch.equal(x, expected)


def test_a_file_may_be_given_by_its_name(file):
    assert source_of(file).fetch(np.array([3]), 0)[0].tolist() == source_of(np.load(file)).fetch(np.array([3]), 0)[0].tolist()
    with pytest.raises(DataError, match=r"nowhere\.npy cannot be read as an array"):
        source_of("nowhere.npy")


def test_workers_train_on_a_mapped_file_with_the_bits_of_the_array(file):
    y = np.random.default_rng(1).integers(0, 3, ROWS)

    def digest(x) -> str:
        model = make_model()
        model.fit(x, y, batch_size=8, steps_per_epoch=4, verbose=0)
        return model.digest()

    with driven(2):
        mapped = digest(np.load(file, mmap_mode="r"))
    with driven(2):
        assert mapped == digest(np.load(file))


def test_arrow_columns_are_inputs_by_name():
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"a": pa.array([1.0, 2.0, 3.0], pa.float32()), "b": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int64(), 2))})
    x, y, _ = source_of(table, np.arange(3)).fetch(np.array([2, 0]), 0)
    assert x["a"].tolist() == [3.0, 1.0] and x["b"].tolist() == [[5, 6], [1, 2]] and y.tolist() == [2, 0]


class Column:
    """Of a table, as Arrow's would be."""

    def __init__(self, rows: list):
        self._rows, self.type = rows, "list<item: int64>" if isinstance(rows[0], list) else "float"

    def __len__(self):
        return len(self._rows)

    def __iter__(self):
        return iter(self._rows)

    def flatten(self):
        return Column([number for row in self._rows for number in row])

    def to_numpy(self, zero_copy_only: bool):
        return np.array(self._rows)


class Table:
    column_names = ("a", "b")

    def column(self, name: str):
        return Column([1.0, 2.0, 3.0] if name == "a" else [[1, 2], [3, 4], [5, 6]])


Table.__module__ = "pyarrow.lib"


def test_whatever_looks_like_a_table_of_arrow_is_taken_by_columns():
    x, y, _ = source_of(Table(), np.arange(3)).fetch(np.array([2, 0]), 0)
    assert x["a"].tolist() == [3.0, 1.0] and x["b"].tolist() == [[5, 6], [1, 2]] and y.tolist() == [2, 0]


def test_text_is_refused():
    with pytest.raises(DataError, match="y holds text"):
        source_of(np.zeros((3, 2)), np.array(["cat", "dog", "cat"]))
