"""Arrays that lie on the device for a whole call: when they do, and that no bit hangs on it. Here the device is a CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from engine_runs import alone, bits, job_of, run_to_end

import disttrain as dt
from disttrain import layers
from disttrain.data import ArraySource, RangeSource, residing
from disttrain.data.resident import ResidentArrays, fits
from disttrain.devices.memory import DeviceMemory
from disttrain.training.step import replica

CPU = torch.device("cpu")
X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 3, 40)


def test_arrays_may_take_a_tenth_of_what_is_free():
    assert fits(100, 1000) and not fits(101, 1000) and fits(0, 0)


def test_what_fits_lies_there_once_however_many_share_it():
    arrays = ArraySource(X, Y)
    found = residing({"fit": RangeSource(arrays, 0, 30), "check": RangeSource(arrays, 30, 40)}, CPU, 100 * (X.nbytes + Y.nbytes))
    assert found["fit"].source is found["check"].source and isinstance(found["fit"].source, ResidentArrays)
    for start, stop, key in ((0, 30, "fit"), (30, 40, "check")):
        x, y, weight = found[key].fetch(np.arange(stop - start), 0)
        assert np.array_equal(x, X[start:stop]) and np.array_equal(y, Y[start:stop]) and weight is None


def test_all_lie_there_or_none():
    one, other = ArraySource(X, Y), ArraySource(X)
    room = 10 * (X.nbytes + Y.nbytes)
    assert isinstance(residing({1: one}, CPU, room)[1], ResidentArrays)
    assert residing({1: one, 2: other}, CPU, room) == {1: one, 2: other}
    assert residing({1: one}, CPU, None) == {1: one}


def test_other_sources_stay_what_they_are():
    class Squares(torch.utils.data.Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, number):
            return number**2

    dataset = dt.data.DatasetSource(Squares())
    found = residing({1: dataset, 2: ArraySource(X)}, CPU, 1 << 30)
    assert found[1] is dataset and isinstance(found[2], ResidentArrays)


@pytest.mark.parametrize("structure", [X, {"a": X, "b": X[:, :2]}, (X, [X + 1])])
def test_batches_are_those_of_the_host_as_tensors_of_their_own(structure):
    host, there = (
        ArraySource(structure, Y, np.ones(40, np.float32)),
        residing({0: ArraySource(structure, Y, np.ones(40, np.float32))}, CPU, 1 << 30)[0],
    )
    assert len(there) == len(host) == 40 and not there.draws
    numbers = np.array([3, 39, 0, 3])
    for one, other in ((host.fetch(numbers, 0), there.fetch(numbers, 0)), (host.fetch_run(5, 9), there.fetch_run(5, 9))):
        for a, b in zip(dt.data.flatten(list(one)), dt.data.flatten(list(other)), strict=True):
            assert torch.equal(a, b) and a.dtype == b.dtype and b.is_contiguous()
            b.zero_()  # works on a copy
    assert np.array_equal(dt.data.flatten(there.fetch(numbers, 0)[0])[0], dt.data.flatten(host.fetch(numbers, 0)[0])[0])


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("class_weight", [None, {0: 2.0}])
def test_a_training_has_the_same_bits_with_its_data_on_the_device(monkeypatch, shuffle, class_weight):
    def trained():
        dt.clear_session()
        dt.set_random_seed(7)
        model = dt.Sequential(
            [dt.Input((6,)), layers.Dense(8, activation="relu"), layers.Dropout(0.3), layers.Dense(3, activation="softmax")]
        )
        model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        job = job_of(model, 2, X, Y, batch_size=7, epochs=2, validation_split=0.2, shuffle=shuffle, class_weight=class_weight)
        engine = run_to_end(alone(job))
        return bits(engine), engine.replica._sources

    on_host, _ = trained()
    monkeypatch.setattr(replica, "read_memory", lambda device: DeviceMemory("GPU 0", "one", 1 << 30, 1 << 30, 0, 0))
    on_device, sources = trained()
    assert on_device == on_host
    resident = [isinstance(getattr(source, "source", source), ResidentArrays) for source in sources.values()]
    assert resident == [class_weight is None] * 2
