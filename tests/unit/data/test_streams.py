"""Data that are read in their own order, in one process: what is accepted works as its users expect, the rest is refused by name."""

from __future__ import annotations

import json
import random
import warnings

import numpy as np
import pytest
import stream_cases as cases
import torch
from stream_cases import BATCH, SAMPLES, X, Y
from thread_runs import make_model
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    SequentialSampler,
    WeightedRandomSampler,
)

from disttrain.data import PyDataset, feed_of
from disttrain.data.reader import Mark, Reader
from disttrain.data.stream_state import from_json, to_json
from disttrain.data.streams import IndexStream, IterableStream
from disttrain.errors import DataError
from disttrain.training.local import runner


def fitted(x, **arguments):
    """As the first call of a script."""
    model = make_model()
    with runner.installed(runner.LocalRunner(runner._InProcess())):
        history = model.fit(x, verbose=0, **arguments)
    return model.digest(), history.history


class Plain(IterableDataset):
    def __iter__(self):
        return iter([(torch.from_numpy(x), y) for x, y in zip(X, Y, strict=True)])


def halves():
    for first in range(0, SAMPLES, BATCH):
        yield X[first : first + BATCH], Y[first : first + BATCH]


ARRAYS = {"batch_size": BATCH, "shuffle": False}


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (lambda: Plain(), {"batch_size": BATCH}),
        (lambda: DataLoader(Plain(), BATCH), {}),
        (lambda: DataLoader(Plain(), BATCH, num_workers=1), {}),
        (lambda: halves, {}),
        (lambda: cases.Only(list(halves())), {}),
        (lambda: cases.loader(sampler=SequentialSampler(cases.dataset()), generator=torch.Generator()), {}),
        (
            lambda: DataLoader(cases.dataset(), batch_sampler=[list(range(i, min(i + BATCH, SAMPLES))) for i in range(0, SAMPLES, BATCH)]),
            {},
        ),
        (lambda: DataLoader(cases.dataset(), batch_size=None, sampler=BatchSampler(SequentialSampler(cases.dataset()), BATCH, False)), {}),
    ],
)
def test_a_stream_trains_as_the_arrays_that_it_tells(make, arguments):
    assert fitted(make(), epochs=2, **arguments) == fitted(X, y=Y, epochs=2, **ARRAYS)


def test_evaluate_and_predict_take_streams_to_their_end():
    model = make_model()
    assert model.evaluate(halves, verbose=0) == model.evaluate(X, Y, batch_size=BATCH, verbose=0)
    assert (
        model.predict(cases.Only([x for x, _ in halves()]), verbose=0).tobytes() == model.predict(X, batch_size=BATCH, verbose=0).tobytes()
    )
    assert len(model.predict(Plain(), batch_size=BATCH, verbose=0, steps=2)) == 2 * BATCH


def test_a_generator_that_is_under_way_is_one_epoch():
    assert fitted(halves()) == fitted(X, y=Y, **ARRAYS)
    with pytest.raises(DataError, match=r"epochs=2 of a generator that is under way(.|\n)*fit\(make_batches\)(.|\n)*steps_per_epoch"):
        fitted(halves(), epochs=2)


def test_steps_of_an_endless_generator_go_on_across_epochs():
    def endless():
        number = 0
        while True:
            yield np.full((4, 6), float(number % 3), "float32"), np.full(4, number % 3)
            number += 1

    seen: list[int] = []

    def watched():
        for x, y in endless():
            seen.append(len(seen))
            yield x, y

    _, history = fitted(watched(), steps_per_epoch=3, epochs=2)
    assert len(history["loss"]) == 2 and len(seen) <= 7


def test_data_that_end_before_the_steps_asked_for_say_so_and_epochs_without_any_are_refused():
    with pytest.warns(UserWarning, match="gave 5 batches in all, fewer than were asked for"):
        _, history = fitted(halves(), steps_per_epoch=3, epochs=2)
    assert len(history["loss"]) == 2
    with warnings.catch_warnings(), pytest.raises(DataError, match="no samples left for epoch 3"):
        warnings.simplefilter("ignore")
        fitted(halves(), steps_per_epoch=3, epochs=3)


def test_steps_go_on_in_the_next_pass_of_what_can_be_begun_again():
    passes: list[int] = []

    def counted():
        passes.append(1)
        yield from halves()

    fitted(counted, steps_per_epoch=4, epochs=3)  # 12 steps of 5 a pass
    assert len(passes) == 3


def test_nothing_at_all_is_refused():
    with pytest.raises(DataError, match="gave no samples"):
        fitted(cases.Only([]))


def test_a_loader_with_a_generator_gives_the_orders_of_a_plain_loop():
    def loader() -> DataLoader:
        return DataLoader(Numbers(), 5, shuffle=True, generator=torch.Generator().manual_seed(3))

    plain = loader()
    expected = [[batch.tolist() for batch in plain] for _ in range(3)]
    reader = Reader(IndexStream(loader()), 0)
    found = [[reader.item(epoch, step).told.tolist() for step in range(5)] for epoch in range(3)]
    assert found == expected


class Numbers(Dataset):
    def __len__(self):
        return 23

    def __getitem__(self, i):
        return i


@pytest.mark.parametrize("wrong", [23, -24, 1000])
def test_an_index_out_of_range_is_named(wrong):
    reader = Reader(IndexStream(DataLoader(Numbers(), batch_sampler=[[0, 1], [2, wrong]])), 0)
    with pytest.raises(DataError, match=rf"batch 1 of the list has the index {wrong}, of a dataset of 23 samples"):
        reader.item(0, 0)


def test_a_sampler_that_gives_a_share_to_each_process_is_refused():
    with pytest.raises(DataError, match=r"one of 2 processes(.|\n)*cuts each batch among the workers itself"):
        feed_of(cases.loader(sampler=DistributedSampler(cases.dataset(), 2, 0))).plan(None, 1)


def test_orders_are_drawn_from_the_seed_and_other_in_each_epoch():
    def orders(seed: int) -> list[list[int]]:
        reader = Reader(IndexStream(cases.loader(sampler=WeightedRandomSampler(torch.ones(SAMPLES), 16))), seed)
        return [reader.item(epoch, step).told.tolist() for epoch in range(2) for step in range(2)]

    torch.manual_seed(1)
    first = orders(4)
    torch.manual_seed(2)
    assert orders(4) == first != orders(5) and first[:2] != first[2:]


def test_a_dataset_that_shuffles_itself_when_an_epoch_ends_is_told_of_each_epoch():
    seen: list[list[float]] = []

    class Watched(cases.Shuffled):
        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            seen.append(x[:, 0].tolist())
            return x, y

    first = fitted(Watched(), epochs=2, shuffle=False)
    passes = [[x for batch in part for x in batch] for part in (seen[:4], seen[4:])]
    assert passes[0] == X[: 4 * BATCH, 0].tolist() != passes[1] and len(set(passes[1])) == 4 * BATCH
    assert fitted(Watched(), epochs=2, shuffle=False) == first


class Flow(PyDataset):
    """Keras's `ImageDataGenerator.flow`, as far as it matters: it draws its order at the first batch that anyone asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.index_array = None

    def _set_index_array(self) -> None:
        self.index_array = np.random.permutation(SAMPLES)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index):
        if self.index_array is None:
            self._set_index_array()
        rows = self.index_array[index * BATCH : (index + 1) * BATCH]
        return X[rows] + np.random.rand(1).astype("float32"), Y[rows]

    def on_epoch_end(self) -> None:
        self._set_index_array()


def test_keras_s_pictures_come_in_the_same_order_whoever_has_looked_at_them_before():
    looked_at = Flow()
    looked_at[2]
    assert fitted(looked_at, epochs=2) == fitted(Flow(), epochs=2)


def test_a_dataset_of_batches_without_end_takes_steps():
    class Endless(PyDataset):
        @property
        def num_batches(self):
            return None

        def __getitem__(self, index):
            return X[index % 4 : index % 4 + 4], Y[index % 4 : index % 4 + 4]

    assert len(fitted(Endless(), steps_per_epoch=3, epochs=2)[1]["loss"]) == 2


def test_a_generator_that_validates_goes_on_from_epoch_to_epoch_where_its_steps_are_said():
    def endless():
        while True:
            yield from halves()

    assert len(fitted(X, y=Y, epochs=3, validation_data=endless(), validation_steps=2)[1]["val_loss"]) == 3
    with pytest.raises(DataError, match="cannot be begun again for epoch 2"):
        fitted(X, y=Y, epochs=3, validation_data=halves())


def test_reading_leaves_the_generators_of_the_process_alone():
    states = random.getstate(), torch.get_rng_state()
    Reader(IterableStream(cases.Rows(), BATCH), 0).item(0, 0)
    assert random.getstate() == states[0] and torch.equal(torch.get_rng_state(), states[1])


def test_a_reader_goes_on_from_a_mark_and_reads_what_one_that_never_stopped_reads():
    steady = Reader(IterableStream(cases.Rows(), BATCH), 1)
    for step in range(3):
        steady.item(1, step)
    mark = from_json(json.loads(json.dumps(to_json(steady.mark(1, 3)))))
    assert (mark.data_pass, mark.batches, mark.samples) == (1, 3, 24)
    fresh = Reader(IterableStream(cases.Rows(), BATCH), 1)
    fresh.item(0, 0)  # from which the model learned its shapes
    fresh.note_mark(1, 3, mark)
    for step in (3, 4):
        assert torch.equal(fresh.item(1, step).told[0], steady.item(1, step).told[0])
    assert fresh.item(1, 5) is None is steady.item(1, 5)


def test_a_stream_that_can_seek_does_not_read_what_was_taken():
    steady = Reader(IterableStream(cases.Seekable(), BATCH), 1)
    for step in range(3):
        steady.item(0, step)
    dataset = cases.Seekable()
    fresh = Reader(IterableStream(dataset, BATCH), 1)
    fresh.note_mark(0, 3, from_json(to_json(steady.mark(0, 3))))
    assert torch.equal(fresh.item(0, 3).told[0], steady.item(0, 3).told[0])
    assert dataset.read[0] == 24


def test_a_stream_that_is_not_repeatable_is_told_when_it_is_gone_on_with():
    class Clock(IterableDataset):
        started = 0

        def __iter__(self):
            Clock.started += 1
            return iter([torch.full((6,), float(Clock.started * 100 + i)) for i in range(SAMPLES)])

    steady = Reader(IterableStream(Clock(), BATCH), 1)
    steady.item(0, 0)
    mark = steady.mark(0, 1)
    fresh = Reader(IterableStream(Clock(), BATCH), 1)
    fresh.note_mark(0, 1, mark)
    with pytest.raises(DataError, match=r"Clock gave other samples than before: the first 1 batches of pass 1"):
        fresh.item(0, 1)


def test_a_mark_survives_json_whatever_a_dataset_tells_of_itself():
    told = {"t": torch.arange(3), "a": np.ones((2, 2), "float32"), "b": b"\0\1", "n": [1, (2.5, None)], 3: "three"}
    found = from_json(json.loads(json.dumps(to_json(Mark(2, 5, 40, "ab", position=told))))).position
    assert torch.equal(found["t"], told["t"]) and found["a"].tolist() == [[1, 1], [1, 1]]
    assert (found["b"], found["n"], found[3]) == (b"\0\1", [1, (2.5, None)], "three")
    with pytest.raises(DataError, match="holds a object"):
        to_json(Mark(0, position=object()))


def test_batches_of_unequal_length_are_named():
    with pytest.raises(DataError, match=r"batch 0 of Only holds arrays of unequal length: \[3, 4\]"):
        fitted(cases.Only([(X[:3], Y[:4])]))


def test_a_batch_size_beside_data_that_bring_batches_is_refused():
    with pytest.raises(DataError, match="batch_size=5 beside a DataLoader, which brings its own batches"):
        fitted(DataLoader(Plain(), BATCH), batch_size=5)


def test_a_split_of_a_stream_is_refused():
    with pytest.raises(DataError, match="validation_split cannot cut a Plain"):
        fitted(Plain(), validation_split=0.5)
