"""What the TensorBoard callback shows of real fits, read back with TensorBoard's own reader."""

import json
from types import SimpleNamespace

import fsspec
import numpy as np
import pytest
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

import disttrain as dt
from disttrain import layers
from disttrain.callbacks.boards.graph import graph_def
from disttrain.callbacks.boards.images import weight_image
from disttrain.callbacks.boards.profile import batches_to_trace
from disttrain.telemetry import Health, Pace, Recovery, Save

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 4)).astype(np.float32)
Y = (X.sum(1) > 0).astype(np.int64)


def small_model():
    model = dt.Sequential([dt.Input((4,)), layers.Dense(3, activation="relu", name="hidden"), layers.Dense(2, name="logits")], name="net")
    model.compile("sgd", dt.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


def fitted(callback, epochs=2, model=None, **arguments):
    model = small_model() if model is None else model
    return model.fit(X, Y, batch_size=8, epochs=epochs, validation_data=(X, Y), verbose=0, callbacks=[callback], **arguments)


def read(folder):
    """As TensorBoard itself does; scalars are tensors there."""
    return EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()


def curve(folder, tag):
    return [(event.step, float(make_ndarray(event.tensor_proto))) for event in read(folder).Tensors(tag)]


def tensors(folder, tag):
    return [(event.step, make_ndarray(event.tensor_proto)) for event in read(folder).Tensors(tag)]


def test_the_curves_are_those_of_history(tmp_path):
    history = fitted(dt.callbacks.TensorBoard(tmp_path), epochs=3).history
    for name in ("loss", "accuracy"):
        for folder, prefix in (("train", ""), ("validation", "val_")):
            points = curve(tmp_path / folder, f"epoch_{name}")
            assert [step for step, _ in points] == [0, 1, 2]
            assert [value for _, value in points] == pytest.approx(history[prefix + name], rel=1e-6)
    assert curve(tmp_path / "validation", "evaluation_loss_vs_iterations")[-1] == (12, pytest.approx(history["val_loss"][-1], rel=1e-6))


def test_batches_have_their_curves_and_their_speed(tmp_path):
    fitted(dt.callbacks.TensorBoard(tmp_path, update_freq=2, write_steps_per_second=True))
    assert [step for step, _ in curve(tmp_path / "train", "batch_loss")] == [2, 4, 6, 8]
    assert all(value > 0 for _, value in curve(tmp_path / "train", "batch_steps_per_second"))


def test_histograms_of_weights_and_activations_have_the_names_of_layers(tmp_path):
    fitted(dt.callbacks.TensorBoard(tmp_path, histogram_freq=2, histograms=("weights", "activations"), activation_samples=X[:5]), epochs=3)
    tags = set(read(tmp_path / "train").Tags()["tensors"])
    assert {"hidden/kernel/histogram", "logits/bias/histogram", "hidden/activation/histogram", "logits/activation/histogram"} <= tags
    found = tensors(tmp_path / "train", "logits/activation/histogram")
    assert [step for step, _ in found] == [0, 2]
    assert found[0][1][:, 2].sum() == 10  # 5 samples of 2 numbers


def test_weights_are_drawn_as_images(tmp_path):
    from PIL import Image

    fitted(dt.callbacks.TensorBoard(tmp_path, write_images=True), epochs=1)
    ((step, image),) = tensors(tmp_path / "train", "hidden/kernel/image")
    width, height, png = image
    import io

    assert step == 0 and Image.open(io.BytesIO(png)).size == (int(width), int(height))


@pytest.mark.parametrize(
    ("shape", "sides"),
    [
        ((5,), (13, 65, 1)),
        ((3, 200), (3, 200, 1)),
        ((200, 3), (3, 200, 1)),
        ((3, 3, 3, 4), (70, 70, 3)),
        ((3, 3, 2, 1), (66, 66, 1)),
        ((3, 3, 2, 4), (70, 70, 3)),
    ],
)
def test_each_kind_of_weight_has_its_picture(shape, sides):
    pixels = weight_image(np.arange(np.prod(shape), dtype=np.float32).reshape(shape))
    assert pixels.shape == sides and pixels.dtype == np.uint8 and pixels.max() == 255


def test_a_weight_without_a_picture_has_none():
    assert weight_image(np.zeros(())) is None and weight_image(np.zeros((2, 2, 2, 2, 2))) is None


def test_what_is_not_a_number_is_blue_in_a_picture():
    pixels = weight_image(np.array([1.0, np.nan, 2.0]))
    assert pixels[0, ::22].tolist() == [[0, 0, 0], [40, 90, 200], [255, 255, 255]]


def nodes_of(model):
    return {node.name: (node.op, list(node.input)) for node in graph_def(model).node}


def test_the_graph_has_a_node_for_each_call_and_a_box_for_each_nested_model():
    inner_input = dt.Input((3,), name="into")
    inner = dt.Model(inner_input, layers.Dense(2, name="narrow")(inner_input), name="inner")
    inputs = dt.Input((4,), name="features")
    shared = layers.Dense(3, name="shared")
    left, right = shared(inputs), shared(layers.Dense(4, name="turned")(inputs))
    model = dt.Model(inputs, layers.Add(name="sum")([inner(left), layers.Dense(2, name="wide")(right)]))
    assert nodes_of(model) == {
        "features": ("InputLayer", []),
        "turned": ("Dense", ["features"]),
        "shared/call_0": ("Dense", ["features"]),
        "shared/call_1": ("Dense", ["turned"]),
        "inner/into": ("InputLayer", ["shared/call_0"]),
        "inner/narrow": ("Dense", ["inner/into"]),
        "wide": ("Dense", ["shared/call_1"]),
        "sum": ("Add", ["inner/narrow", "wide"]),
    }


def test_a_chain_of_layers_is_a_chain_of_nodes_with_their_shapes(tmp_path):
    fitted(dt.callbacks.TensorBoard(tmp_path), epochs=1)
    graph = read(tmp_path / "train").Graph()
    assert [(node.name, list(node.input)) for node in graph.node][1:] == [
        ("hidden", [graph.node[0].name]),
        ("logits", ["hidden"]),
    ]
    assert [dim.size for dim in graph.node[1].attr["_output_shapes"].list.shape[0].dim] == [-1, 3]
    ((_, config),) = tensors(tmp_path / "train", "keras")
    assert json.loads(config.item())["class_name"] == "Sequential"


def test_no_graph_is_written_when_it_is_not_wanted(tmp_path):
    fitted(dt.callbacks.TensorBoard(tmp_path, write_graph=False), epochs=1)
    assert not read(tmp_path / "train").Tags()["graph"] and "keras" not in read(tmp_path / "train").Tags()["tensors"]


def test_the_text_says_what_the_run_is(tmp_path):
    fitted(dt.callbacks.TensorBoard(tmp_path), epochs=1)
    ((_, model),) = tensors(tmp_path / "run", "model")
    ((_, optimizer),) = tensors(tmp_path / "run", "optimizer")
    assert b"hidden" in model.item() and b"SGD" in optimizer.item() and b"learning_rate" in optimizer.item()


def test_hyperparameters_begin_and_end_a_session(tmp_path):
    fitted(dt.callbacks.TensorBoard(tmp_path, hparams={"units": 3, "rate": np.float32(0.5), "layers": [1, 2]}), epochs=1)
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    content = read(tmp_path).PluginTagToContent("hparams")
    started = HParamsPluginData.FromString(content["_hparams_/session_start_info"]).session_start_info
    assert started.hparams["units"].number_value == 3 and started.hparams["rate"].number_value == 0.5
    assert started.hparams["layers"].string_value == "[1, 2]"
    assert "_hparams_/session_end_info" in content
    experiment = HParamsPluginData.FromString(content["_hparams_/experiment"]).experiment
    names = ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert [(info.name.group, info.name.tag) for info in experiment.metric_infos] == [("", f"hparams/{name}") for name in names]
    assert curve(tmp_path, "hparams/val_loss") == curve(tmp_path / "validation", "epoch_loss")


def embedding_model():
    model = dt.Sequential([dt.Input((2,), dtype="int32"), layers.Embedding(5, 3, name="words"), layers.Flatten(), layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def test_tables_are_written_for_the_projector(tmp_path):
    model = embedding_model()
    callback = dt.callbacks.TensorBoard(tmp_path, embeddings_freq=1, embeddings_metadata={"words": list("abcde")})
    model.fit(np.ones((4, 2), np.int32), np.ones((4, 1), np.float32), verbose=0, callbacks=[callback])
    config = (tmp_path / "train" / "projector_config.pbtxt").read_text()
    assert 'tensor_path: "words.tsv"' in config and 'metadata_path: "words.metadata.tsv"' in config
    table = np.loadtxt(tmp_path / "train" / "words.tsv", delimiter="\t")
    assert table == pytest.approx(model.get_layer("words").get_weights()[0], rel=1e-4)
    assert (tmp_path / "train" / "words.metadata.tsv").read_text().split() == list("abcde")


def test_labels_of_a_layer_that_does_not_exist_are_refused(tmp_path):
    callback = dt.callbacks.TensorBoard(tmp_path, embeddings_freq=1, embeddings_metadata={"word": "labels.tsv"})
    with pytest.raises(ValueError, match=r"'word'.*'words'"):
        embedding_model().fit(np.ones((4, 2), np.int32), np.ones((4, 1), np.float32), verbose=0, callbacks=[callback])


@pytest.mark.parametrize(("given", "batches"), [(0, None), (3, (3, 3)), ((2, 4), (2, 4)), ("2,4", (2, 4)), ("5", (5, 5))])
def test_batches_to_trace_are_given_as_in_keras(given, batches):
    assert batches_to_trace(given) == batches


@pytest.mark.leaves_behind("threads")  # torch's profiler keeps its own
def test_a_trace_of_batches_is_a_chrome_trace(tmp_path):
    fitted(dt.callbacks.TensorBoard(tmp_path, profile_batch=(2, 3)))
    (path,) = (tmp_path / "train" / "plugins" / "profile").glob("*.pt.trace.json")
    trace = json.loads(path.read_text())
    names = {event.get("name") for event in trace["traceEvents"]}
    assert any("addmm" in name or "mm" in name for name in names if name)
    assert all("ph" in event for event in trace["traceEvents"])
    assert path.name.encode() in tensors(tmp_path / "run", "profile")[0][1].item()


class Told:
    """Telemetry of a run that lost a worker."""

    def __init__(self, run_dir=None):
        self.run_dir, self.facts, self.told, self.now = run_dir, {"workers": 2, "seed": 7}, [], Health()

    def health(self):
        return self.now

    def gradients(self):
        return {"hidden.kernel": np.ones((4, 3), np.float32)}

    def tell(self, event, **details):
        self.told.append((event, details))


def begun(model, telemetry, state=None, arrays=None, **arguments):
    callback = dt.callbacks.TensorBoard(**arguments)
    callback.telemetry = telemetry
    callback.set_model(model)
    callback.on_train_begin()
    if state is not None:
        callback.load_state_dict(json.loads(json.dumps(state)))
        callback.load_state_arrays(arrays or {})
    return callback


def epoch(callback, number, batches=2):
    callback.on_epoch_begin(number)
    for batch in range(batches):
        callback.on_train_batch_begin(batch)
        callback.model.optimizer.iterations += 1
        callback.on_train_batch_end(batch, {"loss": float(callback.model.optimizer.iterations)})
    callback.on_test_end({"loss": 0.25})
    callback.on_epoch_end(number, {"loss": 10.0 - number, "val_loss": 0.25})


def test_a_run_shows_its_recoveries_and_the_pace_of_its_workers(model, tmp_path):
    telemetry = Told(run_dir=str(tmp_path))
    callback = begun(model, telemetry)
    assert telemetry.told == [("tensorboard", {"log_dir": f"{tmp_path}/tensorboard"})]
    pace = Pace(0.5, 0.25, 0.0, 0.25)
    telemetry.now = Health(10.0, recovery_seconds=2.0, workers=1, recoveries=(Recovery(1, 2.0, 1),), paces={"w0": pace})
    epoch(callback, 0)
    telemetry.now = Health(
        20.0, recovery_seconds=2.0, workers=2, recoveries=(Recovery(1, 2.0, 1),), saves=(Save(3, 0.5, 0.1, 9),), paces={"w0": pace}
    )
    epoch(callback, 1)
    callback.on_train_end()
    run = tmp_path / "tensorboard" / "run"
    assert curve(run, "run/recoveries") == [(1, 1.0), (2, 1.0), (4, 1.0)]
    assert curve(run, "run/recovery_seconds") == [(1, 2.0)]
    assert curve(run, "run/checkpoint_seconds") == [(3, 0.5)]
    assert curve(run, "run/workers_alive") == [(2, 1.0), (4, 2.0)]
    assert curve(run, "run/goodput") == [(2, pytest.approx(0.8)), (4, pytest.approx(0.9))]
    assert curve(run, "run/step_seconds/w0") == [(2, 0.5), (4, 0.5)]
    ((_, facts),) = tensors(run, "config")
    assert b"| workers | `2` |" in facts.item()


def test_gradients_are_asked_for_only_if_wanted(model, tmp_path):
    callback = begun(model, Told(), log_dir=tmp_path, histogram_freq=1, histograms=("gradients",))
    assert callback.wants_gradients and not dt.callbacks.TensorBoard().wants_gradients
    epoch(callback, 0)
    callback.on_train_end()
    assert [tag for tag in read(tmp_path / "train").Tags()["tensors"] if "histogram" in tag] == ["hidden/kernel/gradient/histogram"]


@pytest.mark.parametrize("log_dir", ["folder", "memory://board-restart"])
@pytest.mark.parametrize("saved_after", [1, 2])
def test_a_resumed_run_has_no_gap_no_doubled_point_and_no_zig_zag_on_any_axis(model, tmp_path, log_dir, saved_after):
    log_dir = str(tmp_path / log_dir) if "://" not in log_dir else f"{log_dir}-{saved_after}"
    telemetry = Told()
    telemetry.now = Health(10.0, recoveries=(Recovery(1, 2.0, 1),))
    arguments = {"log_dir": log_dir, "update_freq": "batch", "histogram_freq": 1}
    callback = begun(model, telemetry, **arguments)
    for number in range(4):
        if number == saved_after:
            state, arrays = callback.state_dict(), callback.state_arrays()
        epoch(callback, number)
    # The process dies here. What it wrote is on disk.
    again = type(model)()
    again.optimizer.iterations = 2 * saved_after
    resumed = begun(again, Told(), state, arrays, **arguments)
    resumed.telemetry.now = Health(1.0)
    for number in range(saved_after, 5):
        epoch(resumed, number)
    resumed.on_train_end()
    assert curve(f"{log_dir}/train", "batch_loss") == [(step, float(step)) for step in range(1, 11)]
    assert curve(f"{log_dir}/train", "epoch_loss") == [(step, 10.0 - step) for step in range(5)]
    assert [step for step, _ in tensors(f"{log_dir}/train", "dense/kernel/histogram")] == [0, 1, 2, 3, 4]
    assert [step for step, _ in curve(f"{log_dir}/validation", "epoch_loss")] == [0, 1, 2, 3, 4]
    assert [step for step, _ in curve(f"{log_dir}/validation", "evaluation_loss_vs_iterations")] == [2, 4, 6, 8, 10]
    assert [step for step, _ in curve(f"{log_dir}/run", "run/goodput")] == [2, 4, 6, 8, 10]
    assert [value for _, value in curve(f"{log_dir}/run", "run/recoveries")] == [1.0] * 6
    assert len(tensors(f"{log_dir}/run", "config")) == 1


def test_points_that_only_the_checkpoint_holds_are_written_after_a_restart(model):
    arguments = {"log_dir": "memory://board-pending", "update_freq": "batch"}
    callback = begun(model, None, **arguments)
    callback.on_epoch_begin(0)
    callback.on_train_batch_end(0, {"loss": 1.0})
    state, arrays = callback.state_dict(), callback.state_arrays()  # nothing was flushed since
    resumed = begun(type(model)(), None, state, arrays, **arguments)
    resumed.on_epoch_begin(0)
    resumed.on_train_batch_end(1, {"loss": 2.0})
    resumed.on_train_end()
    assert curve("memory://board-pending/train", "batch_loss") == [(1, 1.0), (2, 2.0)]


def test_a_fresh_fit_into_the_same_folder_appends(tmp_path):
    for _ in range(2):
        fitted(dt.callbacks.TensorBoard(tmp_path), epochs=2)
    assert [step for step, _ in curve(tmp_path / "train", "epoch_loss")] == [0, 1, 0, 1]


def test_an_object_store_gets_whole_files_and_no_more_than_one_a_flush(model):
    files = fsspec.filesystem("memory")
    callback = begun(model, None, log_dir="memory://board-parts", update_freq="batch")
    for number in range(3):
        epoch(callback, number, batches=5)
    callback.on_train_end()
    parts = files.ls("/board-parts/train", detail=False)
    assert len(parts) == 3
    assert [step for step, _ in curve("memory://board-parts/train", "batch_loss")] == list(range(1, 16))


def test_a_folder_that_cannot_be_written_costs_one_warning_and_loses_nothing_that_can_be_written_later(model, tmp_path):
    (tmp_path / "train").write_text("in the way")
    callback = begun(model, None, log_dir=tmp_path)
    with pytest.warns(UserWarning, match="cannot be written") as warned:
        epoch(callback, 0)
        epoch(callback, 1)
    assert len([entry for entry in warned if "train" in str(entry.message)]) == 1
    (tmp_path / "train").unlink()
    epoch(callback, 2)
    callback.on_train_end()
    assert [step for step, _ in curve(tmp_path / "train", "epoch_loss")] == [0, 1, 2]


def test_weights_that_are_not_numbers_any_more_do_not_end_the_training(model, tmp_path):
    callback = begun(model, None, log_dir=tmp_path, histogram_freq=1, write_images=True)
    model.weight = np.full(2, np.nan, np.float32)
    epoch(callback, 0)
    callback.on_train_end()
    assert "dense/kernel/histogram" not in read(tmp_path / "train").Tags()["tensors"]


def test_only_batch_curves_and_traces_make_training_stop_at_each_batch():
    kinds = [{}, {"write_steps_per_second": True}, {"histogram_freq": 1}, {"update_freq": 5}, {"profile_batch": 2}]
    assert [dt.callbacks.TensorBoard(**kind).batch_hooks for kind in kinds] == ["sampled"] * 3 + ["every"] * 2


def test_a_model_that_is_code_shows_its_layers_without_edges():
    model = SimpleNamespace(layers=[layers.Dense(2, name="one"), layers.Dense(2, name="two")])
    assert nodes_of(model) == {"one": ("Dense", []), "two": ("Dense", [])}
    assert graph_def(SimpleNamespace()) is None
