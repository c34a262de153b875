"""Where models come from: memory, a file, a run that is still going."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid

import fsspec
import numpy as np
import pytest
import torch
from viewer_runs import WrittenRun

from disttrain.checkpoint import read_attempts
from disttrain.errors import UsageError
from disttrain.layers import BatchNormalization, Dense, Input, Layer
from disttrain.models import Model, Sequential
from disttrain.viewers import run_source
from disttrain.viewers.forward import record
from disttrain.viewers.refusal import Refusal
from disttrain.viewers.run_source import RunSource
from disttrain.viewers.samples import read_safetensors
from disttrain.viewers.sources import ModelSource, open_source


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Storage is looked at on every call."""
    monkeypatch.setattr(run_source, "_POLL_SECONDS", 0.0)
    monkeypatch.setattr("disttrain.viewers.sources._LOOKED_AT_SECONDS", 0.0)


@pytest.fixture(params=["local", "memory"])
def url(request, tmp_path):
    if request.param == "local":
        yield str(tmp_path / "run")
        return
    root = f"memory://{uuid.uuid4().hex}"
    yield root
    fsspec.filesystem("memory").rm(root, recursive=True)


def small(units: int = 2) -> Sequential:
    return Sequential([Input((3,), name="x"), Dense(4, activation="relu"), BatchNormalization(), Dense(units, activation="softmax")])


class Code(Model):
    def __init__(self):
        super().__init__()
        self.inner = Dense(2)

    def call(self, x):
        return self.inner(x)


class TrainsMeanwhile(Layer):
    """Adds to a statistic of the model `trained` during a pass of its copy, as another thread may."""

    trained = None

    def build(self, input_shape):
        self.seen = self.add_weight("seen", (), "zeros", trainable=False)

    def call(self, inputs):
        if self.trained is not None:
            self.trained.layers[-1].seen.data.add_(1.0)
        return inputs


# -- a model, a file --------------------------------------------------------------------------------------------------------------------


def test_a_model_in_memory_is_one_checkpoint_that_changes_with_its_weights():
    model = small()
    source = ModelSource(model)
    name, version = source.resolve(None)
    assert name == "current" and source.resolve("current") == (name, version)
    shown = source.model(name, None)
    assert shown is not model and shown.digest() == model.digest() and source.checkpoints()["checkpoints"][0]["version"] == version
    with torch.no_grad():
        model.weights[0].add_(1.0)
    assert source.resolve(None)[1] != version
    assert shown.digest() != model.digest() and source.model(name, None) is shown and shown.digest() == model.digest()
    with pytest.raises(Refusal, match="no checkpoint 'step-3'"):
        source.resolve("step-3")


def test_the_copy_that_is_looked_at_has_no_optimizer_and_is_made_anew_for_another_architecture():
    model = Sequential([Dense(2)])
    model.compile(optimizer="adam", loss="mse")
    source = ModelSource(model)
    unbuilt = source.skeleton()
    assert not unbuilt.built and source.resolve(None)[1] == "not built"
    model.fit(np.zeros((4, 3), "f4"), np.zeros((4, 2), "f4"), verbose=0)
    shown = source.model("current", None)
    assert shown is not unbuilt and shown.built and shown.optimizer is None and model.optimizer is not None


def test_a_step_of_training_meanwhile_is_neither_disturbed_nor_undone():
    model = Sequential([Input((3,)), TrainsMeanwhile()])
    shown = ModelSource(model).model("current", None)
    TrainsMeanwhile.trained = model
    record(shown, torch.zeros(1, 3))
    assert float(model.layers[-1].seen) == 1.0 and not any(layer._forward_hooks for layer in model.layers)


def test_a_model_that_was_trained_gets_the_weights_of_a_run(url):
    model = small()
    run = WrittenRun(url)
    run.save(model, 1)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    model.fit(np.zeros((4, 3), "f4"), np.zeros(4, "i8"), verbose=0)
    source = RunSource(url, model)
    assert source.model(source.resolve(None)[0], None).digest() != model.digest()


def test_a_model_that_cannot_be_copied_is_looked_at_itself():
    model = small()
    model.lock = threading.Lock()
    assert ModelSource(model).model("current", None) is model


def test_a_keras_file_is_a_model(tmp_path):
    model = small()
    model.save(tmp_path / "m.keras")
    source = open_source(tmp_path / "m.keras")
    assert source.kind == "file" and source.skeleton().digest() == model.digest()


def test_what_is_no_model_is_refused_with_what_was_expected(tmp_path):
    (tmp_path / "folder").mkdir()
    for wrong in (5, None, [small()], Dense):
        with pytest.raises(UsageError, match="expected a model"):
            open_source(wrong)
    for missing in (tmp_path / "folder", tmp_path / "nothing", "memory://nothing-there"):
        with pytest.raises(UsageError, match=r"is no run directory and no \.keras file"):
            open_source(missing)
    with pytest.raises(UsageError, match="there is no such file"):
        open_source(str(tmp_path / "nothing.keras"))
    with pytest.raises(UsageError, match="cannot be read"):
        open_source("nosuchprotocol://x")
    with pytest.raises(UsageError, match="expected the model whose weights"):
        open_source(str(tmp_path), run="x")


# -- a run ------------------------------------------------------------------------------------------------------------------------------


def test_a_run_without_a_checkpoint_waits_for_one_and_follows_it(url):
    run, model = WrittenRun(url), small()
    run.describe(model, classes=["no", "yes"])
    run.status()
    source = open_source(url)
    found = source.checkpoints()
    assert found["live"] and found["state"] == "running" and found["checkpoints"] == []
    assert found["message"] == "waiting for the first checkpoint"
    with pytest.raises(Refusal, match="waiting for the first checkpoint"):
        source.resolve(None)
    name = run.save(model, 10)
    found = source.checkpoints()
    assert found["checkpoints"] == [{"name": name, "step": 10, "epoch": 1, "attempt": 1}] and found["message"] is None
    assert source.resolve(None) == (name, name) and source.classes == ["no", "yes"]
    assert source.model(name, None).digest() == model.digest()


def test_every_checkpoint_gives_its_own_weights_oldest_first(url):
    run, model = WrittenRun(url), small()
    run.describe(model)
    digests = []
    for step in (10, 25, 40, 55):
        with torch.no_grad():
            model.weights[0].add_(1.0)
        run.save(model, step)
        digests.append(model.digest())
    run.end()
    source = open_source(url)
    found = source.checkpoints()
    assert [(entry["step"], entry["epoch"]) for entry in found["checkpoints"]] == [(10, 1), (25, 2), (40, 4), (55, 5)]
    assert not found["live"] and found["state"] == "finished"
    for _ in range(2):  # from the cache of three, and not from it
        assert [source.model(entry["name"], None).digest() for entry in found["checkpoints"]] == digests


def test_only_the_models_arrays_are_read(url, monkeypatch):
    run, model = WrittenRun(url), small()
    run.describe(model)
    name = run.save(model, 10)
    seen, load = [], run_source.load
    monkeypatch.setattr(run_source, "load", lambda *args, **options: seen.append(options) or load(*args, **options))
    open_source(url).model(name, None)
    assert seen == [{"prefix": "model/"}]


def test_storage_is_asked_once_a_second_however_many_tabs_ask(url, monkeypatch):
    run, model = WrittenRun(url), small()
    run.describe(model)
    source = open_source(url)
    monkeypatch.setattr(run_source, "_POLL_SECONDS", 1000.0)
    source.checkpoints()
    looks = []
    monkeypatch.setattr(source, "_look", lambda: looks.append(1))
    for _ in range(10):
        source.checkpoints()
    assert looks == []


def test_a_checkpoint_that_retention_deleted_is_told_and_the_list_is_read_again(url):
    run, model = WrittenRun(url), small()
    run.describe(model)
    name, newer = run.save(model, 10), run.save(model, 20)
    source = open_source(url)
    source.checkpoints()
    run.store.delete(f"checkpoints/commits/{name}.json")
    with pytest.raises(Refusal, match=f"checkpoint {name} cannot be read") as refused:
        source.model(name, None)
    assert refused.value.status == 409
    assert [entry["name"] for entry in source.checkpoints()["checkpoints"]] == [newer]
    with pytest.raises(Refusal, match=f"is not there, or not any more: 1 are, the newest is {newer}"):
        source.resolve(name)


def test_a_damaged_checkpoint_is_told(tmp_path):
    run, model = WrittenRun(str(tmp_path / "run")), small()
    run.describe(model)
    name = run.save(model, 10)
    (shard,) = (tmp_path / "run").rglob("*.safetensors")
    data = bytearray(shard.read_bytes())
    data[-5000:] = bytes(5000)
    shard.write_bytes(data)
    with pytest.raises(Refusal, match="damaged"):
        open_source(str(tmp_path / "run")).model(name, None)


def test_weights_of_another_model_are_refused_by_name(url):
    run = WrittenRun(url)
    run.describe(small())
    source = open_source(url)
    other = run.save(renamed(source.skeleton(), small(5)), 10)
    with pytest.raises(Refusal, match=r"do not fit the model: 'dense\w*\.kernel' has shape \(4, 5\), the model's has \(4, 2\)"):
        source.model(other, None)


def renamed(like: Model, model: Model) -> Model:
    """`model` with its layers called as in `like`."""
    config = model.get_config()
    for ours, theirs in zip(config["layers"], like.get_config()["layers"], strict=True):
        ours["config"]["name"] = theirs["config"]["name"]
    return type(model).from_config(config)


def test_each_checkpoint_gets_the_model_of_its_own_call(url):
    run, first, second = WrittenRun(url), small(2), small(7)
    run.describe(first, call=1)
    early = run.save(first, 10, call=1)
    source = open_source(url)
    source.checkpoints()
    run.describe(second, call=3)
    late = run.save(second, 5, call=3)
    assert source.model(early, None).output_shape == (None, 2)
    assert source.model(late, None).output_shape == (None, 7)


def test_a_model_of_code_is_brought_along_and_built_from_a_sample(url):
    run, trained = WrittenRun(url), Code()
    trained(torch.ones(1, 3))
    name = run.save(trained, 10)
    with pytest.raises(UsageError, match=r"server\.launch\(model, run="):
        open_source(url)
    own = Code()
    source = open_source(own, run=url)
    assert source.kind == "run"
    model = source.model(name, torch.ones(1, 3))
    assert model.digest() == trained.digest()
    assert not own.built  # the person's own model is left alone


def test_a_model_of_code_has_its_classes_and_is_built_from_the_runs_samples(url):
    run, trained = WrittenRun(url), Code()
    trained(torch.ones(1, 3))
    run.describe(None, classes=["a", "b"], samples={"x": np.ones((2, 3))})
    run.save(trained, 20)
    with pytest.raises(UsageError, match=r"server\.launch\(model, run="):
        open_source(url)
    source = open_source(Code(), run=url)
    assert source.skeleton().built and source.classes == ["a", "b"] and source.samples.count == 2
    assert source.checkpoints()["checkpoints"][0]["epoch"] == 2
    assert source.model(source.resolve(None)[0], None).digest() == trained.digest()


def test_a_class_that_only_the_script_knows_is_told(url):
    run = WrittenRun(url)
    run.write_description(1, model='{"class_name": "Mystery", "config": {}}')
    with pytest.raises(UsageError, match="cannot be made without the script"):
        open_source(url).skeleton()


def test_damaged_descriptions_are_passed_over(url):
    run = WrittenRun(url)
    run.describe(small(), call=1)
    run.store.put("model/000002.json", b"{")
    run.store.put("model/000003.json", b"[]")
    run.write_description(4, model=5)
    run.store.put("model/000005.json", run.store.read("model/000001.json"))
    run.store.put("model/000006.json", run.store.read("model/000001.json").replace(b"softmax", b"sigmoid"))
    run.store.put("model/000001.safetensors", b"\xff" * 64)
    source = open_source(url)
    assert source.skeleton().output_shape == (None, 2)
    assert source.samples.count == 0
    run.save(small(), 10)
    assert "samples of the run are damaged" in source.checkpoints()["message"]


def test_samples_go_to_the_inputs_by_name(url):
    run = WrittenRun(url)
    run.describe(small(), samples={"x": np.ones((4, 3), np.float32), "y": np.arange(4)})
    samples = open_source(url).samples
    assert samples.count == 4 and samples.x["x"].shape == (4, 3) and samples.label(3) == 3


def test_several_inputs_are_found_by_number_and_by_name(url):
    a, b = Input((3,), name="a"), Input((2,), name="b")
    model = Model([a, b], Dense(1)(a) + Dense(1)(b))
    x, z = np.zeros((2, 3), np.float32), np.ones((2, 2), np.float32)
    run = WrittenRun(url)
    run.describe(model, call=1, samples={"x/0": x, "x/1": z})
    assert {name: array.shape for name, array in open_source(url).samples.x.items()} == {"a": (2, 3), "b": (2, 2)}
    run.describe(model, call=2, samples={"x/b": z, "x/a": x})
    assert {name: array.shape for name, array in open_source(url).samples.x.items()} == {"a": (2, 3), "b": (2, 2)}


@pytest.mark.parametrize("data", [b"", b"\x10", (10**6).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"[]" + bytes(8)])
def test_bytes_that_are_no_samples_are_a_value_error(data):
    with pytest.raises(ValueError):
        read_safetensors(data)


def test_a_driver_that_died_is_a_lost_run(tmp_path):
    url = str(tmp_path / "run")
    code = (
        "import socket, os, sys; from disttrain.checkpoint import Store, start_attempt\n"
        "start_attempt(Store(sys.argv[1]), {'host': socket.gethostname(), 'pid': os.getpid()}, True)"
    )
    subprocess.run([sys.executable, "-c", code, url], check=True)
    source = RunSource(url, small())
    assert source.checkpoints()["state"] == "lost" and not source.checkpoints()["live"]
    assert len(read_attempts(source._store)) == 1
