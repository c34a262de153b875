"""What a person may pass as data, and what comes out."""

import numpy as np
import pytest
import torch

from disttrain.data import ArraySource, DatasetSource, RangeSource, flatten, map_structure, source_of
from disttrain.errors import DataError

ROWS = np.array([2, 0])


def test_arrays_give_the_rows_asked_for():
    x, y, weight = ArraySource(np.arange(6.0).reshape(3, 2), np.array([1, 2, 3])).fetch(ROWS, key=0)
    assert x.tolist() == [[4, 5], [0, 1]] and x.dtype == torch.float32
    assert y.tolist() == [3, 1] and weight is None


def test_structures_keep_their_shape():
    source = source_of({"a": np.zeros((4, 1)), "b": (torch.ones(4), torch.arange(4))})
    x, _, _ = source.fetch(ROWS, key=0)
    assert set(x) == {"a", "b"} and x["b"][1].tolist() == [2, 0]


def test_unequal_lengths_name_each_array():
    with pytest.raises(DataError, match=r"unequal length: x\['a'\] 3, x\['b'\] 4"):
        ArraySource({"a": np.zeros(3), "b": np.zeros(4)})
    with pytest.raises(DataError, match="x 3, y 2"):
        ArraySource(np.zeros(3), np.zeros(2))


def test_a_read_only_array_is_used_as_it_is():
    array = np.arange(3, dtype=np.float32)
    array.flags.writeable = False
    assert ArraySource(array).fetch(ROWS, key=0)[0].tolist() == [2, 0]


def test_a_range_counts_from_its_start():
    source = RangeSource(ArraySource(np.arange(10)), 6, 9)
    assert len(source) == 3 and source.fetch(ROWS, key=0)[0].tolist() == [8, 6]


class Noisy(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        return torch.full((2,), float(i)) + torch.rand(2), i


def test_random_augmentation_repeats_for_the_same_key():
    source = source_of(Noisy())
    assert isinstance(source, DatasetSource)
    first, again, other = (source.fetch(ROWS, key)[0] for key in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert source.fetch(ROWS, 5)[1].tolist() == [2, 0]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (iter([1]), "read only once"),
        (np.array([None, 1]), "Python objects"),
        (np.float32(3), "single number"),
        ([], "holds no array"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_with_a_reason(data, says):
    with pytest.raises(DataError, match=says):
        source_of(data)


def test_a_data_loader_is_refused_with_what_to_write_instead():
    with pytest.raises(DataError, match=r"fit\(loader.dataset"):
        source_of(torch.utils.data.DataLoader(Noisy()))


def test_a_dataset_brings_its_own_targets():
    with pytest.raises(DataError, match="brings its own targets"):
        source_of(Noisy(), np.zeros(4))


def test_flatten_and_map_agree_on_order():
    structure = {"b": [1, 2], "a": (3, None)}
    assert flatten(structure) == [3, 1, 2]
    assert map_structure(lambda v: v * 2, structure) == {"b": [2, 4], "a": (6, None)}
