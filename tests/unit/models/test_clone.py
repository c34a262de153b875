"""`clone_model`: the same layers, other weights."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch

from disttrain import layers as L
from disttrain.layers.layer import Layer
from disttrain.models import Input, Model, Sequential, clone_model, model_from_json

X = torch.linspace(-1, 1, 12).reshape(3, 4)


def branched() -> Model:
    x = Input((4,), name="x")
    shared = L.Dense(4, name="shared")
    inner = Sequential([Input((4,)), L.Dense(4, name="inside")], name="inner")
    return Model({"x": x}, {"y": shared(inner(shared(x))) * 2 + x[:, :1]}, name="whole")


def test_a_clone_has_the_same_layers_and_fresh_weights():
    model = branched()
    clone = clone_model(model)
    assert [layer.name for layer in clone.operations] == [layer.name for layer in model.operations]
    assert clone.name == "whole" and not any(one is two for one, two in zip(clone.operations, model.operations, strict=True))
    assert not torch.equal(clone.get_layer("shared").kernel, model.get_layer("shared").kernel)
    clone.set_weights(model.get_weights())
    assert torch.equal(clone({"x": X})["y"], model({"x": X})["y"])


def test_a_chain_is_cloned_with_or_without_a_known_shape():
    known = Sequential([Input((4,), name="start"), L.Dense(2, name="a"), L.Dropout(0.5, name="b")], name="chain")
    clone = clone_model(known)
    assert clone.built and clone.name == "chain" and [layer.name for layer in clone.layers] == ["a", "b"]
    assert not clone_model(Sequential([L.Dense(2)])).built
    assert clone_model(known, input_tensors=Input((4,), batch_size=3)).input_shape == (3, 4)


def test_a_clone_function_changes_layers_also_inside_models_when_recursive():
    def wider(layer: Layer) -> Layer:
        if isinstance(layer, Model):
            return clone_model(layer)
        config = layer.get_config()
        return type(layer).from_config({**config, "use_bias": False} if "use_bias" in config else config)

    def biases(model: Any) -> tuple[Any, Any]:
        return model.get_layer("shared").bias, model.get_layer("inner").get_layer("inside").bias

    outer, inner = biases(clone_model(branched(), clone_function=wider))
    assert outer is None and inner is not None
    assert biases(clone_model(branched(), clone_function=wider, recursive=True)) == (None, None)


def test_a_call_function_puts_layers_between():
    def with_dropout(layer: Layer, *args: Any, **kwargs: Any) -> Any:
        outputs = layer(*args, **kwargs)
        return L.Dropout(0.5)(outputs) if isinstance(layer, L.Dense) else outputs

    clone = clone_model(branched(), call_function=with_dropout)
    assert sum(isinstance(layer, L.Dropout) for layer in clone.layers) == 2
    with pytest.raises(ValueError, match="no functional model"):
        clone_model(Sequential([L.Dense(1)]), call_function=with_dropout)


def test_a_frozen_model_stays_frozen_in_its_clone():
    model = branched()
    model.trainable = False
    assert clone_model(model).trainable_weights == []


class Custom(Model):
    def __init__(self, units: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.first = L.Dense(units)

    def call(self, x: Any) -> Any:
        return self.first(x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


def test_a_model_that_is_code_is_cloned_by_its_config():
    clone = clone_model(Custom(3))
    assert clone.units == 3
    with pytest.raises(ValueError, match="defined by its call"):
        clone_model(Custom(), clone_function=lambda layer: layer)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_and_pickles_compute_the_same(copied: Any):
    model = branched()
    model.compile("adam", loss="mse", metrics=["mae"])
    again = copied(model)
    assert torch.equal(again({"x": X})["y"], model({"x": X})["y"]) and again.digest() == model.digest()
    assert again.compiled and again.get_config() == model.get_config()


def test_json_holds_the_model_without_its_weights():
    model = branched()
    model.compile("sgd", loss={"y": "mse"})
    again = model_from_json(model.to_json(indent=1))
    assert again.get_config() == model.get_config() and again.compiled and again.digest() != model.digest()
    for text in ("[1]", "no json", "{}"):
        with pytest.raises(ValueError, match=r"model_from_json|expected a config"):
            model_from_json(text)
