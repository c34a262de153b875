"""What a person may pass as data, and what comes out."""

import numpy as np
import pytest
import torch

from disttrain.data import ArraySource, DatasetSource, PyDataset, RangeSource, feed_of, flatten, map_structure, source_of
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
        (np.array([None, 1]), "Python objects"),
        (np.float32(3), "single number"),
        ([], "holds no array"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_with_a_reason(data, says):
    with pytest.raises(DataError, match=says):
        source_of(data)


def numbers(size: int = 10) -> torch.utils.data.Dataset:
    return torch.utils.data.TensorDataset(torch.arange(float(size)).reshape(-1, 1), torch.arange(size))


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_data_loader_brings_its_dataset_batches_and_shuffling(shuffle):
    feed = feed_of(torch.utils.data.DataLoader(numbers(), batch_size=4, shuffle=shuffle, drop_last=True))
    plan = feed.plan(None, virtual_workers=1, shuffle=not shuffle)
    assert (plan.batch_size, plan.steps, plan.shuffle, len(feed)) == (4, 2, shuffle, 10)
    x, y, weight = feed.source.fetch(ROWS, key=0)
    assert x.tolist() == [[2.0], [0.0]] and y.tolist() == [2, 0] and weight is None


def test_a_data_loader_makes_batches_by_its_own_collate_fn():
    loader = torch.utils.data.DataLoader(numbers(), batch_size=2, collate_fn=lambda rows: torch.stack([x for x, _ in rows]) * 10)
    assert feed_of(loader).source.fetch(ROWS, key=0)[0].tolist() == [[20.0], [0.0]]


def test_another_batch_size_than_that_of_the_loader_is_refused():
    feed = feed_of(torch.utils.data.DataLoader(numbers(), batch_size=4))
    with pytest.raises(DataError, match="batch_size=5 beside a DataLoader whose batches hold 4"):
        feed.plan(5, 1)


def test_without_a_batch_size_steps_cut_one_pass_into_as_many_batches():
    assert feed_of(np.zeros(10)).plan(None, 1, steps=3).batch_size == 4
    assert feed_of(np.zeros(10)).plan(None, 1).batch_size == 32


class Batches(PyDataset):
    """Three batches of four, and one of two; x says which sample it is."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        rows = np.arange(index * 4, min(14, index * 4 + 4))
        return rows.reshape(-1, 1).astype("float64"), rows


def test_a_py_dataset_gives_its_batches_whole_and_shuffles_their_order():
    feed = feed_of(Batches())
    plan = feed.plan(None, virtual_workers=2, shuffle=True, seed=3, trains=True)
    assert (len(feed), plan.steps, plan.batch_size) == (14, 4, 4)
    seen = []
    for step in range(4):
        parts = [feed.source.fetch(plan.indices(0, step, rank), key=0) for rank in range(2)]
        rows = [row for x, _, _ in parts for row in x[:, 0].tolist()]
        assert len(rows) == plan.batch_count(0, step) and [int(row) for row in rows] == plan.indices(0, step).tolist()
        assert rows == sorted(rows) and parts[0][0].dtype == torch.float32
        seen.append(int(rows[0]) // 4)
    assert sorted(seen) == [0, 1, 2, 3] and seen != [0, 1, 2, 3]
    assert [plan.indices(1, step)[0] for step in range(4)] != [plan.indices(0, step)[0] for step in range(4)]


def test_a_py_dataset_with_batches_of_several_sizes_is_refused_where_it_shows():
    class Uneven(Batches):
        def __getitem__(self, index):
            return np.zeros((3 if index == 1 else 4, 1))

    source = feed_of(Uneven()).source
    with pytest.raises(DataError, match=r"Uneven\[1\] holds 3 samples, expected 4"):
        source.fetch(np.array([4, 5]), key=0)


def test_a_dataset_brings_its_own_targets():
    with pytest.raises(DataError, match="brings its own targets"):
        source_of(Noisy(), np.zeros(4))


def test_flatten_and_map_agree_on_order():
    structure = {"b": [1, 2], "a": (3, None)}
    assert flatten(structure) == [3, 1, 2]
    assert map_structure(lambda v: v * 2, structure) == {"b": [2, 4], "a": (6, None)}


# -- layout -----------------------------------------------------------------------------------------------------------------------------

LAYOUTS = {
    "an axis added by None": np.arange(96, dtype=np.float32).reshape(6, 4, 4)[..., None],
    "an axis in the middle": np.arange(96, dtype=np.float32).reshape(6, 16)[:, None, :],
    "Fortran's order": np.asfortranarray(np.arange(96, dtype=np.float32).reshape(6, 4, 4)),
    "axes exchanged": np.arange(96, dtype=np.float32).reshape(6, 2, 8).transpose(0, 2, 1),
    "every second row": np.arange(192, dtype=np.float32).reshape(12, 16)[::2],
}


@pytest.mark.parametrize("array", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("there", [False, True], ids=["here", "in another process"])
def test_samples_have_the_strides_of_their_shape_however_the_arrays_lie(array, there):
    """Kernels are chosen by strides, and pickling changes those of axes of one element: bits would depend on where a step runs."""
    import pickle

    class Rows:
        def __len__(self):
            return len(array)

        def __getitem__(self, number):
            return array[number]

    source = ArraySource(array)
    source = pickle.loads(pickle.dumps(source)) if there else source
    whole = DatasetSource(Rows(), collate=lambda rows: torch.from_numpy(array[: len(rows)]))
    for x in (source.fetch_run(1, 4)[0], source.fetch(np.array([1, 2, 3]), 0)[0], whole.fetch(np.array([1, 2, 3]), 0)[0]):
        assert x.stride() == torch.empty(x.shape).stride()
    assert source.fetch_run(1, 4)[0].numpy().tobytes() == np.ascontiguousarray(array[1:4]).tobytes()


def test_a_batch_that_changes_when_it_is_asked_for_again_is_refused():
    class Counting(Batches):
        asked, random = 0, np.random.default_rng(0)

        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            self.asked += 1
            return x + self.noise(len(x)), y

        def noise(self, rows):
            return np.full((rows, 1), self.asked)

    with pytest.raises(DataError, match=r"Counting\[0\] is another batch when it is asked for again"):
        feed_of(Counting())

    class Seeded(Counting):
        def noise(self, rows):
            return np.random.normal(size=(rows, 1)) + self.random.normal(size=(rows, 1))  # both are seeded for each batch

    assert len(feed_of(Seeded())) == 14
