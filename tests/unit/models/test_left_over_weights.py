"""Each weight of a file is read or named, whatever the model looks like: nothing is left out in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from disttrain import layers as L
from disttrain.metrics import Mean
from disttrain.models import Input, Model, Sequential, load_model
from disttrain.models.saving import register

X = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")


@register("left")
class MadeInBuild(Model):
    """Makes its layers in `build` and leaves them to be built by the first call."""

    def build(self, input_shape: Any) -> None:
        self.hidden, self.out = L.Dense(3), L.Dense(1)

    def call(self, x: Any) -> Any:
        return self.out(self.hidden(x))

    def get_config(self) -> dict[str, Any]:
        return {}


class Secretive(MadeInBuild):
    """Cannot be called on zeros."""

    def call(self, x: Any) -> Any:
        assert bool((x != 0).all()), "zeros"
        return super().call(x)


def two_layers() -> Sequential:
    return Sequential([Input((4,)), L.Dense(3), L.Dense(2)])


def test_layers_that_a_build_leaves_unbuilt_get_their_weights(tmp_path: Path):
    model = MadeInBuild()
    expected = model(torch.from_numpy(X))
    model.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras")
    assert torch.equal(again(torch.from_numpy(X)), expected) and len(again.weights) == 4


@pytest.mark.parametrize("make", [MadeInBuild, Secretive])
def test_a_layer_that_was_never_built_is_named_while_the_file_has_its_weights(make: Any, tmp_path: Path):
    model = make()
    model(torch.from_numpy(X))
    model.save_weights(tmp_path / "m.weights.h5")
    other = make()
    other.build((None, 4))
    with pytest.raises(ValueError, match=r"2 weights in the file, while it was never built[\s\S]*build\(\) must build the layers"):
        other.load_weights(tmp_path / "m.weights.h5")
    model.save(tmp_path / "m.keras")
    if make is Secretive:
        with pytest.raises(ValueError, match="never built"):
            load_model(tmp_path / "m.keras", custom_objects={"Secretive": Secretive})


def test_a_layer_whose_first_call_is_a_predict_can_be_trained_afterwards():
    model = MadeInBuild()
    model.build((None, 4))
    model.predict(X, verbose=0)
    model.compile("sgd", "mse")
    before = [weight.copy() for weight in model.get_weights()]
    model.fit(X, X[:, :1], verbose=0)
    assert not any(weight.is_inference() for weight in model.weights)
    assert not np.array_equal(model.get_weights()[0], before[0])


def test_a_file_of_two_layers_is_not_read_into_one(tmp_path: Path):
    two_layers().save_weights(tmp_path / "m.weights.h5")
    one = Sequential([Input((4,)), L.Dense(3)])
    before = one.digest()
    with pytest.raises(ValueError, match=r"dense_1: 2 weights in the file at 'layers/dense_1', which the model does not have"):
        one.load_weights(tmp_path / "m.weights.h5")
    assert one.digest() == before
    with pytest.warns(UserWarning, match="which the model does not have"):
        one.load_weights(tmp_path / "m.weights.h5", skip_mismatch=True)
    assert one.digest() != before


def test_a_layer_without_weights_does_not_take_the_place_of_one_with(tmp_path: Path):
    two_layers().save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(ValueError, match="2 weights in the file"):
        Sequential([Input((4,)), L.Dense(3), L.ReLU()]).load_weights(tmp_path / "m.weights.h5")


class Stepping(Model):
    """Has a metric, another optimizer and a source of seeds as attributes, as models of Keras with steps of their own."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tracker, self.inner = Mean(), L.Dense(2)
        self.second = object()

    def call(self, x: Any) -> Any:
        return self.inner(x)


def test_what_files_of_keras_hold_beside_layers_is_no_left_over(tmp_path: Path):
    model = Stepping()
    model(torch.from_numpy(X))
    path = tmp_path / "m.weights.h5"
    model.save_weights(path)
    with h5py.File(path, "r+") as file:
        del file.attrs["disttrain_sha256"]
        file["tracker/vars/0"] = np.zeros((), "float32")
        file["second/vars/0"] = np.ones(3, "float32")
        file["inner/seed_generator/vars/0"] = np.zeros(2, "uint32")
        file["generator_optimizer/vars/0"], file["generator_optimizer/vars/1"] = np.int64(3), np.float32(0.1)
        file["optimizer/vars/0"] = np.int64(3)
        file["_layer_checkpoint_dependencies/dense/vars/0"] = np.ones(3, "float32")
    model.load_weights(path)
    with h5py.File(path, "r+") as file:
        file["stranger/vars/0"] = np.ones(3, "float32")
    with pytest.raises(ValueError, match="stranger: 1 weights in the file at 'stranger'"):
        model.load_weights(path)
