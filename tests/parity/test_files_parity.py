"""Files both ways: what Keras saved opens here, what is saved here opens in Keras, and both compute the same."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras_parity import tensors
from layer_case import Case, all_cases

import disttrain as dt
from disttrain.layers.structure import flatten, map_structure

# Keras's own, when it writes its variables.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

# Keras makes these models but cannot run them; what is wrong there stands beside.
KERAS_FAILS = {
    "LayerNormalization, inner axes",  # torch's layer_norm is handed the wrong shape
}


def by_class() -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = defaultdict(list)
    for name, case in all_cases().items():
        if case.keras and name not in KERAS_FAILS:
            found[name.split(",")[0]].append(case)
    return dict(found)


BY_CLASS = by_class()


def model_of(api: Any, cases: list[Case]) -> tuple[Any, list[Any]]:
    """(one functional model with every case of a layer, its inputs as data); `api` is `keras` or `disttrain`."""
    inputs, data, outputs = [], [], []
    for case in cases:
        args = list(case.inputs) if case.spread else [case.inputs]
        made = map_structure(lambda x: api.Input(x.shape[1:], dtype=str(x.dtype)) if isinstance(x, np.ndarray) else x, args)
        settings = {key: value for key, value in (case.call or {}).items() if not isinstance(value, np.ndarray)}
        outputs += flatten(case.make(api.layers)(*made, **settings))
        inputs += [leaf for leaf, value in zip(flatten(made), flatten(args), strict=True) if isinstance(value, np.ndarray)]
        data += [value for value in flatten(args) if isinstance(value, np.ndarray)]
    return api.Model(inputs, outputs), tensors(data)


def same_outputs(ours: Any, theirs: Any, data: Any, tolerance: float = 1e-5) -> None:
    with torch.no_grad():
        mine = [torch.as_tensor(leaf) for leaf in flatten(ours(data, training=False))]
        other = [torch.as_tensor(leaf) for leaf in flatten(theirs(data, training=False))]
    assert [tuple(leaf.shape) for leaf in mine] == [tuple(leaf.shape) for leaf in other]
    for one, two in zip(mine, other, strict=True):
        torch.testing.assert_close(one, two, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", BY_CLASS)
def test_a_layer_goes_through_files_both_ways(name: str, tmp_path: Path):
    cases = BY_CLASS[name]
    tolerance = max(case.tolerance for case in cases)
    theirs, data = model_of(keras, cases)
    theirs.save(tmp_path / "theirs.keras")
    ours = dt.load_model(tmp_path / "theirs.keras")
    same_outputs(ours, theirs, data, tolerance)
    ours.save(tmp_path / "ours.keras")
    again = keras.saving.load_model(tmp_path / "ours.keras")
    same_outputs(again, theirs, data, tolerance)
    own, _ = model_of(dt, cases)
    own.load_weights(tmp_path / "theirs.keras")
    same_outputs(own, theirs, data, tolerance)
    own.save_weights(tmp_path / "own.weights.h5")
    theirs.load_weights(tmp_path / "own.weights.h5")


# -- training goes on -------------------------------------------------------------------------------------------------------------------

X, Y = np.random.default_rng(1).standard_normal((32, 5)).astype("float32"), np.random.default_rng(2).integers(0, 3, (32, 1))
OPTIMIZERS = {
    "adam": lambda o: o.Adam(0.01, amsgrad=True),
    "sgd": lambda o: o.SGD(0.05, momentum=0.9, nesterov=True),
    "rmsprop": lambda o: o.RMSprop(0.01, momentum=0.5, centered=True),
    "adamw, schedule": lambda o: o.AdamW(o.schedules.ExponentialDecay(0.02, 3, 0.9), weight_decay=0.01),
    "adagrad": lambda o: o.Adagrad(0.05),
    "lion": lambda o: o.Lion(0.002),
}


def classifier(api: Any, optimizer: Any) -> Any:
    x = api.Input((5,))
    y = api.layers.BatchNormalization()(api.layers.Dense(8, "relu")(x))
    model = api.Model(x, api.layers.Dense(3, "softmax")(api.layers.Add()([y, api.layers.Dense(8)(x)])))
    model.compile(optimizer(api.optimizers), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def one_epoch(model: Any) -> Any:
    return model.fit(X, Y, batch_size=8, epochs=1, shuffle=False, verbose=0).history["loss"][-1]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_where_keras_stopped_and_the_other_way_round(name: str, tmp_path: Path):
    theirs = classifier(keras, OPTIMIZERS[name])
    one_epoch(theirs)
    theirs.save(tmp_path / "theirs.keras")
    ours = dt.load_model(tmp_path / "theirs.keras")
    assert ours.optimizer.iterations == 4
    expected = one_epoch(theirs)
    assert one_epoch(ours) == pytest.approx(expected, rel=1e-4)
    for one, two in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)
    ours.save(tmp_path / "ours.keras")
    again = keras.saving.load_model(tmp_path / "ours.keras")
    assert one_epoch(again) == pytest.approx(one_epoch(theirs), rel=1e-3)


def test_training_goes_on_bit_for_bit_after_saving(tmp_path: Path):
    for path in ("m.keras", "m.weights.h5"):
        model = classifier(dt, OPTIMIZERS["adam"])
        one_epoch(model)
        if path.endswith(".keras"):
            model.save(tmp_path / path)
            again = dt.load_model(tmp_path / path)
        else:
            model.save_weights(tmp_path / path)
            again = classifier(dt, OPTIMIZERS["adam"])
            again.load_weights(tmp_path / path)
        assert one_epoch(again) == one_epoch(model)
        assert all(np.array_equal(one, two) for one, two in zip(again.get_weights(), model.get_weights(), strict=True))


def test_an_optimizer_that_has_not_started_is_saved_so_that_keras_can_start_it(tmp_path: Path):
    model = classifier(dt, OPTIMIZERS["adam"])
    model.save(tmp_path / "m.keras")
    assert not model.optimizer.built
    one_epoch(keras.saving.load_model(tmp_path / "m.keras"))


def test_state_of_another_optimizer_is_a_warning(tmp_path: Path):
    model = classifier(dt, OPTIMIZERS["adam"])
    one_epoch(model)
    model.save_weights(tmp_path / "m.weights.h5")
    other = classifier(dt, OPTIMIZERS["sgd"])
    with pytest.warns(UserWarning, match="starts afresh"):
        other.load_weights(tmp_path / "m.weights.h5")
    assert other.optimizer.iterations == 0


def test_what_a_model_was_compiled_with_goes_both_ways(tmp_path: Path):
    def compiled(api: Any) -> Any:
        x = api.Input((5,), name="x")
        outputs = {"a": api.layers.Dense(3, "softmax", name="a")(x), "b": api.layers.Dense(1, name="b")(x)}
        model = api.Model(x, outputs)
        model.compile(
            api.optimizers.Adam(api.optimizers.schedules.CosineDecay(0.01, 100), clipnorm=1.0),
            loss={"a": api.losses.SparseCategoricalCrossentropy(ignore_class=2), "b": "mse"},
            loss_weights={"a": 1.0, "b": 0.25},
            metrics={"a": ["accuracy", api.metrics.SparseTopKCategoricalAccuracy(k=2, name="top")], "b": ["mae"]},
        )
        return model

    targets = {"a": Y, "b": X[:, :1]}
    theirs = compiled(keras)
    theirs.save(tmp_path / "theirs.keras")
    ours = dt.load_model(tmp_path / "theirs.keras")
    expected = theirs.evaluate(X, targets, verbose=0, return_dict=True)
    assert ours.evaluate(X, targets, verbose=0, return_dict=True) == pytest.approx(expected, rel=1e-5)
    assert ours.optimizer.clipnorm == 1.0 and type(ours.optimizer._learning_rate).__name__ == "CosineDecay"
    ours.save(tmp_path / "ours.keras")
    again = keras.saving.load_model(tmp_path / "ours.keras")
    assert again.evaluate(X, targets, verbose=0, return_dict=True) == pytest.approx(expected, rel=1e-5)
    assert type(again.optimizer._learning_rate).__name__ == "CosineDecay"


# -- HDF5 as Keras 2 laid it out --------------------------------------------------------------------------------------------------------


# Of layers that draw numbers Keras copies the whole config, where it meets a module of Python.
@pytest.mark.parametrize("name", [name for name in sorted(BY_CLASS)[::8] if not name.startswith("Random")])
def test_a_layer_goes_through_h5_both_ways(name: str, tmp_path: Path):
    cases = BY_CLASS[name]
    tolerance = max(case.tolerance for case in cases)
    theirs, data = model_of(keras, cases)
    theirs.save(tmp_path / "theirs.h5")
    ours = dt.load_model(tmp_path / "theirs.h5")
    same_outputs(ours, theirs, data, tolerance)
    ours.save(tmp_path / "ours.h5")
    again = keras.saving.load_model(tmp_path / "ours.h5")
    same_outputs(again, theirs, data, tolerance)


def test_training_goes_on_through_h5(tmp_path: Path):
    theirs = classifier(keras, OPTIMIZERS["adam"])
    one_epoch(theirs)
    theirs.save(tmp_path / "theirs.h5")
    ours = dt.load_model(tmp_path / "theirs.h5")
    assert ours.optimizer.iterations == 4
    assert one_epoch(ours) == pytest.approx(one_epoch(theirs), rel=1e-4)
    ours.save(tmp_path / "ours.h5")
    again = keras.saving.load_model(tmp_path / "ours.h5")  # which cannot train on, as none of Keras's own .h5 can there
    targets = {"verbose": 0, "batch_size": 8}
    assert again.evaluate(X, Y, **targets)[0] == pytest.approx(ours.evaluate(X, Y, **targets)[0], rel=1e-5)


# -- dtypes and states of their own -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["bfloat16", "float64", "mixed_bfloat16", "mixed_float16"])
def test_policies_go_both_ways(policy: str, tmp_path: Path):
    def make(api: Any) -> Any:
        x = api.Input((4,))
        return api.Model(x, api.layers.Dense(2, dtype=policy)(api.layers.LayerNormalization(dtype=policy)(x)))

    theirs, data = make(keras), torch.tensor(X[:3, :4])
    theirs.save(tmp_path / "theirs.keras")
    ours = dt.load_model(tmp_path / "theirs.keras")
    assert ours.layers[-1].dtype_policy.name == policy and ours(data).dtype is theirs(data).dtype
    same_outputs(ours, theirs, data, 1e-2)
    ours.save(tmp_path / "ours.keras")
    again = keras.saving.load_model(tmp_path / "ours.keras")
    assert again.layers[-1].dtype_policy.name == policy
    same_outputs(again, theirs, data, 1e-2)


def test_what_a_normalization_has_learned_goes_both_ways(tmp_path: Path):
    data = torch.tensor(X) * 3 + 1
    for one, other in ((dt, keras), (keras, dt)):
        x = one.Input((5,))
        layer = one.layers.Normalization()
        layer.adapt(data.numpy())
        model = one.Model(x, layer(x))
        model.save(tmp_path / "m.keras")
        again = (other if other is dt else keras.saving).load_model(tmp_path / "m.keras")
        same_outputs(again, model, data)
        x = other.Input((5,))
        fresh = other.Model(x, other.layers.Normalization()(x))
        model.save_weights(tmp_path / "m.weights.h5")
        fresh.load_weights(tmp_path / "m.weights.h5")
        same_outputs(fresh, model, data)
