"""What a run tells the viewer: read back by the viewer itself."""

from __future__ import annotations

import json
import uuid
from typing import Any

import numpy as np
import pytest
from engine_runs import job_of

import disttrain as dt
from disttrain import layers
from disttrain.checkpoint import Store
from disttrain.rundir.model_description import ModelDescription
from disttrain.rundir.timeline import Console
from disttrain.viewers.run_source import RunSource

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
Y = np.arange(40) % 2


def small() -> dt.Sequential:
    model = dt.Sequential([dt.Input((3,)), layers.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


class Code(dt.Model):
    def __init__(self) -> None:
        super().__init__()
        self.inner = layers.Dense(2)

    def call(self, x):
        return self.inner(x)


@pytest.fixture
def store() -> Store:
    return Store(f"memory://{uuid.uuid4().hex}")


def write(store: Store, job: Any, *, call: int = 0, samples: int = 16, fresh: bool = True) -> Console:
    """Describe a job; the console that heard of it."""
    console = Console(quiet=True)
    description = ModelDescription(store, console, samples)
    description.write(call, job, fresh=fresh)
    description.wait()
    return console


def test_the_viewer_makes_the_model_and_finds_the_samples(store):
    job = job_of(small(), 2, X, Y, batch_size=8, epochs=3, validation_split=0.25)
    assert not write(store, job).events
    source = RunSource(store.url)
    assert [type(layer).__name__ for layer in source.skeleton().layers] == ["Dense"]
    assert source.samples.count == 10  # all of the validation data
    assert np.array_equal(source.samples.x["x"] if "x" in source.samples.x else next(iter(source.samples.x.values())), X[30:])
    assert [source.samples.label(number) for number in range(10)] == Y[30:].tolist()
    record = json.loads(store.read("model/000000.json"))["body"]
    assert (record["epochs"], record["steps_per_epoch"], record["batch_size"]) == (3, 4, 8)


def test_samples_come_from_all_over_the_training_data_where_there_is_no_other(store):
    write(store, job_of(small(), 2, X, Y, batch_size=8), samples=4)
    assert np.array_equal(next(iter(RunSource(store.url).samples.x.values())), X[[0, 13, 26, 39]])


def test_no_samples_are_kept_where_none_are_wanted_or_one_is_too_large(store, monkeypatch):
    write(store, job_of(small(), 2, X, Y, batch_size=8), samples=0)
    assert store.list("model") == ["000000.json"]
    monkeypatch.setattr("disttrain.rundir.model_description._MAX_SAMPLES_BYTES", 8)
    write(store, job_of(small(), 2, X, Y, batch_size=8))
    assert store.list("model") == ["000000.json"]


def test_several_inputs_keep_their_names(store):
    inputs = {"a": dt.Input((3,), name="a"), "b": dt.Input((3,), name="b")}
    model = dt.Model(inputs, layers.Dense(1)(layers.Add()([inputs["a"], inputs["b"]])))
    model.compile("sgd", "mse")
    write(store, job_of(model, 2, {"a": X, "b": X + 1}, X[:, :1], batch_size=8), samples=2)
    assert np.array_equal(RunSource(store.url).samples.row(1)["b"], X[39] + 1)


def test_a_model_of_code_leaves_its_samples_all_the_same(store):
    model = Code()
    model.compile("sgd", "mse")
    write(store, job_of(model, 2, X, X[:, :2], batch_size=8))
    assert RunSource(store.url, Code()).samples.count == 16


def test_a_fresh_run_leaves_nothing_of_the_one_before(store):
    job = job_of(small(), 2, X, Y, batch_size=8)
    for call in (0, 3):
        write(store, job, call=call, fresh=False)
    write(store, job, call=0, samples=0, fresh=True)
    assert store.list("model") == ["000000.json"]


def test_a_dataset_that_fails_and_storage_that_is_away_cost_nothing(store, monkeypatch):
    job = job_of(small(), 2, X, Y, batch_size=8)
    monkeypatch.setattr(type(next(iter(job.sources.values()))), "fetch", lambda *_: 1 / 0)
    assert [event["event"] for event in write(store, job).events] == ["samples failed"]
    monkeypatch.setattr(Store, "put", lambda *_: 1 / 0)
    assert [event["event"] for event in write(store, job).events] == ["samples failed", "description failed"]
