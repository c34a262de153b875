"""`.h5` files in the layout of Keras 2: what it wrote is read, and what is written here comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from disttrain import layers as L
from disttrain.models import Input, Model, Sequential, load_model
from disttrain.models.saving import file_digest


def weights_file(file: Any, layers: dict[str, dict[str, np.ndarray]]) -> None:
    """Layers with their arrays, as Keras 2 laid them out."""
    file.attrs["layer_names"] = np.array([name.encode() for name in layers])
    file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.11.0"
    for name, arrays in layers.items():
        group = file.create_group(name)
        group.attrs["weight_names"] = np.array([key.encode() for key in arrays]) if arrays else np.array([], "S1")
        for key, array in arrays.items():
            group[key] = array


def ramp(*shape: int) -> np.ndarray:
    return np.linspace(-1, 1, int(np.prod(shape)), dtype="float32").reshape(shape)


DENSE = {"d/kernel:0": ramp(4, 3), "d/bias:0": ramp(3)}
NORM = {"n/gamma:0": ramp(3) + 2, "n/beta:0": ramp(3), "n/moving_mean:0": ramp(3) / 2, "n/moving_variance:0": ramp(3) + 3}


def keras_2_model(path: Path) -> Path:
    """A functional model with a shared layer, batch normalization and an addition, as tf.keras 2.11 writes it."""

    def layer(name: str, kind: str, inbound: list[Any], **config: Any) -> dict[str, Any]:
        common = {"name": name, "dtype": "float32"} if kind == "InputLayer" else {"name": name, "trainable": True, "dtype": "float32"}
        return {"class_name": kind, "config": {**common, **config}, "name": name, "inbound_nodes": inbound}

    layers = [
        layer("x", "InputLayer", [], batch_input_shape=[None, 4], sparse=False, ragged=False),
        layer("y", "InputLayer", [], batch_input_shape=[None, 4], sparse=False, ragged=False),
        layer(
            "d", "Dense", [[["x", 0, 0, {}]], [["y", 0, 0, {}]]], units=3, activation="linear", use_bias=True,
            kernel_initializer={"class_name": "GlorotUniform", "config": {"seed": None}},
            bias_initializer={"class_name": "Zeros", "config": {}}, kernel_regularizer=None, bias_regularizer=None,
            activity_regularizer=None, kernel_constraint=None, bias_constraint=None,
        ),
        layer("a", "Add", [[["d", 0, 0, {}], ["d", 1, 0, {}]]]),
        layer("n", "BatchNormalization", [[["a", 0, 0, {}]]], axis=[1], momentum=0.99, epsilon=0.001, center=True, scale=True),
        layer("l", "LeakyReLU", [[["n", 0, 0, {}]]], alpha=0.25),
    ]  # fmt: skip
    config = {"name": "model", "layers": layers, "input_layers": [["x", 0, 0], ["y", 0, 0]], "output_layers": [["l", 0, 0]]}
    training = {"loss": "mse", "metrics": ["mae"], "weighted_metrics": None, "loss_weights": None}
    training["optimizer_config"] = {"class_name": "SGD", "config": {"name": "SGD", "learning_rate": 0.25, "momentum": 0.0}}
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = "2.11.0", "tensorflow"
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config})
        file.attrs["training_config"] = json.dumps(training)
        weights_file(file.create_group("model_weights"), {"x": {}, "y": {}, "d": DENSE, "a": {}, "n": NORM, "l": {}})
    return path


def test_a_model_that_keras_2_wrote_computes_what_it_did(tmp_path: Path):
    model = load_model(keras_2_model(tmp_path / "m.h5"))
    x, y = ramp(2, 4), ramp(2, 4) * 2
    added = x @ DENSE["d/kernel:0"] + y @ DENSE["d/kernel:0"] + 2 * DENSE["d/bias:0"]
    normal = (added - NORM["n/moving_mean:0"]) / np.sqrt(NORM["n/moving_variance:0"] + 0.001) * NORM["n/gamma:0"] + NORM["n/beta:0"]
    np.testing.assert_allclose(model.predict([x, y], verbose=0), np.where(normal > 0, normal, 0.25 * normal), rtol=1e-5)
    assert model.compiled and float(model.optimizer.learning_rate) == 0.25


def test_weights_that_keras_2_wrote_go_by_order_or_by_name(tmp_path: Path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        weights_file(file, {"old": DENSE, "flat": {}, "n": NORM})
    model = Sequential([Input((4,)), L.Dense(3, name="first"), L.ReLU(), L.BatchNormalization(name="n")])
    model.load_weights(tmp_path / "w.h5")
    assert [weight.tolist() for weight in model.get_weights()] == [array.tolist() for array in (*DENSE.values(), *NORM.values())]
    other = Sequential([Input((4,)), L.Dense(3, name="first"), L.BatchNormalization(name="n")])
    kept = other.weights[0].clone()
    other.load_weights(tmp_path / "w.h5", by_name=True)
    assert torch.equal(other.weights[0], kept) and other.get_weights()[2].tolist() == NORM["n/gamma:0"].tolist()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"old": DENSE}, "1 layers with weights in the file, 2 in the model: old; first, n"),
        ({"old": DENSE, "n": NORM, "more": DENSE}, "3 layers with weights in the file, 2 in the model"),
        ({"old": DENSE, "n": DENSE}, "n: 2 weights in the file, 4 in the model"),
        ({"old": {**DENSE, "d/kernel:0": ramp(4, 5)}, "n": NORM}, r"first, weight 0: shape \(4, 5\) in the file, \(4, 3\) in the model"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_changed(layers: Any, message: str, tmp_path: Path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        weights_file(file, layers)
    model = Sequential([Input((4,)), L.Dense(3, name="first"), L.BatchNormalization(name="n")])
    before = model.digest()
    with pytest.raises(ValueError, match=message):
        model.load_weights(tmp_path / "w.h5")
    assert model.digest() == before
    with pytest.raises(ValueError, match="holds weights alone"):
        load_model(tmp_path / "w.h5")


class Shift(L.Layer):
    def build(self, input_shape: Any) -> None:
        self.shift = self.add_weight("shift", (input_shape[-1],), "ones")

    def call(self, x: Any) -> Any:
        return x + self.shift


def nested() -> Model:
    x = Input((4,), name="x")
    inner = Sequential([Input((4,)), L.Dense(3), L.BatchNormalization()], name="inner")
    frozen = L.Dense(3, name="frozen", trainable=False)
    model = Model(x, Shift()(frozen(inner(x))))
    model.compile("adam", "mse")
    return model


@pytest.mark.parametrize("ending", [".h5", ".hdf5"])
def test_what_is_written_here_comes_back_and_is_checked(ending: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path, model = tmp_path / f"m{ending}", nested()
    model.fit(ramp(8, 4), ramp(8, 3), verbose=0)
    model.save(path)
    again = load_model(path, custom_objects={"Shift": Shift})
    assert again.digest() == model.digest() and again.optimizer.iterations == 1 and not caplog.text
    assert [layer.trainable for layer in again.layers] == [layer.trainable for layer in model.layers]
    other = nested()
    other.load_weights(path)
    assert all(torch.equal(one, two) for one, two in zip(other.weights, model.weights, strict=True))
    for one in (model, again):
        one.fit(ramp(8, 4), ramp(8, 3), shuffle=False, verbose=0)
    assert again.digest() == model.digest()
    if ending == ".h5":
        plain = Sequential([Input((4,)), L.Dense(3)])
        plain.save(tmp_path / "p.h5")
        assert file_digest(tmp_path / "p.h5") == plain.digest()


def test_a_changed_letter_or_number_in_a_file_of_ours_is_noticed(tmp_path: Path):
    Sequential([Input((4,)), L.Dense(3, activation="relu", name="d")]).save(tmp_path / "m.h5")
    sound = (tmp_path / "m.h5").read_bytes()
    (tmp_path / "m.h5").write_bytes(sound.replace(b'"relu"', b'"selu"'))
    with pytest.raises(ValueError, match="is damaged"):
        load_model(tmp_path / "m.h5")
    (tmp_path / "m.h5").write_bytes(sound)
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        file["model_weights/d/weight_1"][0] = 1.0
    with pytest.raises(ValueError, match="is damaged"):
        load_model(tmp_path / "m.h5")


def test_a_link_out_of_the_file_is_not_followed(tmp_path: Path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        weights_file(file, {"d": DENSE})
        del file["d/d/bias:0"]
        file["d/d/bias:0"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(ValueError, match="link to somewhere else"):
        Sequential([Input((4,)), L.Dense(3)]).load_weights(tmp_path / "w.h5")


def test_names_that_one_attribute_has_no_room_for_come_back(tmp_path: Path):
    name = "a" * 2000
    model = Sequential([Input((2,)), *(L.Dense(2, name=f"{name}{number}", use_bias=False) for number in range(40))])
    model.save(tmp_path / "m.h5")
    assert load_model(tmp_path / "m.h5").digest() == model.digest()
