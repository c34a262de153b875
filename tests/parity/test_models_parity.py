"""Models put together in the same way here and in Keras: layers in the same order, the same numbers, the same files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras_parity import tensors

import disttrain as dt
from disttrain.layers.structure import flatten
from disttrain.models.summary import type_name

# Keras's own, when it writes its variables.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RANDOM = np.random.default_rng(5)


def data(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype("float32")


def two_in_two_out(k: Any) -> Any:
    a, b = k.Input((4,), name="a"), k.Input((2,), name="b")
    shared = k.layers.Dense(4, activation="tanh", name="shared")
    left, right = shared(a), shared(k.layers.Dense(4, name="up")(b))
    return k.Model({"a": a, "b": b}, {"sum": k.layers.Add(name="sum")([left, right]), "left": left})


def used_three_times(k: Any) -> Any:
    x = k.Input((3,))
    dense = k.layers.Dense(3, activation="tanh")
    return k.Model(x, [dense(dense(dense(x))), dense(x)])


def nested(k: Any) -> Any:
    innermost = k.Sequential([k.Input((3,)), k.layers.Dense(3), k.layers.Dense(3, "relu")], name="innermost")
    x = k.Input((3,))
    inner = k.Model(x, k.layers.Add()([innermost(x), k.layers.Dense(3)(x)]), name="inner")
    y = k.Input((3,))
    once = inner(y)
    return k.Model(y, k.layers.Concatenate()([inner(once), k.layers.Dense(3)(y)]))


def masked_branches(k: Any) -> Any:
    words, other = k.Input((5,), dtype="int32"), k.Input((4,))
    e = k.layers.Embedding(6, 4, mask_zero=True)(words)
    first = k.layers.LSTM(4, return_sequences=True)(k.layers.Dropout(0.5)(e))
    read = k.layers.Bidirectional(k.layers.GRU(2))(first)
    near = k.layers.Dense(4)(other)
    far = k.layers.Dense(4)(k.layers.Dense(4)(k.layers.Dense(4)(k.layers.Dense(4)(other))))
    return k.Model([words, other], k.layers.Average()([k.layers.Dense(4)(read), near, far]))


def masks_of_what_was_computed(k: Any) -> Any:
    """Keras's masks are nodes of their own here, which move the layers before them away from the outputs."""
    a, b = k.Input((5, 3)), k.Input((5, 3))
    left = k.layers.Masking()(k.layers.Dense(3, use_bias=False)(a))
    right = k.layers.Activation("tanh")(k.layers.Dense(3, use_bias=False)(b))
    return k.Model([a, b], [k.layers.LSTM(2)(left), k.layers.LSTM(2)(right)])


def masks_that_join(k: Any) -> Any:
    a, b = k.Input((4,), dtype="int32"), k.Input((4,), dtype="int32")
    embed = k.layers.Embedding(5, 3, mask_zero=True)
    both = k.layers.Concatenate(axis=1)([embed(a), embed(b)])
    added = k.layers.Add()([embed(a), embed(b)])
    return k.Model([a, b], [k.layers.LSTM(2)(both), k.layers.GlobalAveragePooling1D()(added)])


def structures(k: Any) -> Any:
    a, b, c = (k.Input((2,), name=name) for name in "abc")
    outputs = {"one": [k.layers.Dense(2)(a), b * 2.0], "two": (k.layers.Dense(1)(c), a - b)}
    return k.Model({"a": a, "b": b, "c": c}, outputs)


def operations(k: Any) -> Any:
    x = k.Input((4, 6))
    scores = k.ops.softmax(k.ops.matmul(x, k.ops.transpose(x, (0, 2, 1))) / 6**0.5)
    y = k.layers.Dense(6)(scores @ x + x[:, :1] * 0.5)
    return k.Model(x, k.ops.concatenate([k.ops.mean(y, axis=1), k.ops.max(abs(y), axis=1)], axis=-1))


MODELS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "two in, two out": (two_in_two_out, {"a": data(3, 4), "b": data(3, 2)}),
    "a layer three times": (used_three_times, data(3, 3)),
    "models in models": (nested, data(2, 3)),
    "masked branches": (masked_branches, [np.array([[1, 2, 0, 0, 0], [5, 0, 3, 0, 0]], dtype="int32"), data(2, 4)]),
    "masks of what was computed": (masks_of_what_was_computed, [data(2, 5, 3), data(2, 5, 3)]),
    "masks that join": (masks_that_join, [np.array([[1, 0, 2, 0]], dtype="int32"), np.array([[0, 0, 3, 4]], dtype="int32")]),
    "structures": (structures, {name: data(2, 2) for name in "abc"}),
    "operations": (operations, data(2, 4, 6)),
}


def same(ours: Any, theirs: Any, x: Any) -> None:
    with torch.no_grad():
        mine, other = flatten(ours(tensors(x))), flatten(theirs(tensors(x)))
    for one, two in zip(mine, other, strict=True):
        torch.testing.assert_close(torch.as_tensor(one), torch.as_tensor(two), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_computes_and_saves_what_keras_s_does(name: str, tmp_path: Path):
    make, x = MODELS[name]
    ours, theirs = make(dt), make(keras)
    assert [type_name(layer) for layer in ours.layers] == [type(layer).__name__ for layer in theirs.layers]
    kept = [weight for weight in theirs.weights if "seed" not in weight.path]
    assert [tuple(weight.shape) for weight in ours.weights] == [tuple(weight.shape) for weight in kept]
    values = [RANDOM.standard_normal(weight.shape).astype("float32") for weight in kept]
    ours.set_weights(values)
    for weight, value in zip(kept, values, strict=True):
        weight.assign(value)
    same(ours, theirs, x)
    ours.save(tmp_path / "ours.keras")
    theirs.save(tmp_path / "theirs.keras")
    same(dt.load_model(tmp_path / "theirs.keras"), theirs, x)
    again = keras.saving.load_model(tmp_path / "ours.keras")
    same(again, theirs, x)
    again.save(tmp_path / "again.keras")
    same(dt.load_model(tmp_path / "again.keras"), theirs, x)
    json = keras.models.model_from_json(ours.to_json())
    assert [tuple(weight.shape) for weight in json.weights] == [tuple(weight.shape) for weight in theirs.weights]


def summary_of(model: Any, **options: Any) -> list[str]:
    lines: list[str] = []
    model.summary(print_fn=lambda text, **_: lines.append(text), **options)
    return "\n".join(lines).splitlines()


@pytest.mark.parametrize("name", ["two in, two out", "models in models", "operations"])
def test_the_summary_says_what_keras_s_does(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "160")
    make = MODELS[name][0]
    ours, theirs = make(dt), make(keras)
    for model in (ours, theirs):
        model.get_layer(index=-2).trainable = False
        model.compile("adam", "mse")
    theirs.optimizer.build(theirs.trainable_variables)
    weights = [weight for weight in ours.weights if weight.requires_grad]
    ours.optimizer.build(weights)
    options = {"line_length": 140, "show_trainable": True, "expand_nested": True}
    mine, other = summary_of(ours, **options), summary_of(theirs, **options)
    assert [line.strip() for line in mine if "params" in line] == [line.strip() for line in other if "params" in line]

    def column(lines: list[str], number: int) -> list[str]:
        cells = [line.strip("│").split("│")[number].strip() for line in lines if line.startswith("│")]
        return [cell for cell in cells if cell]

    for number in (1, 2, 4):  # shapes, numbers of weights, trainable; names and connections hold numbers of the session
        assert column(mine, number) == column(other, number)


def test_a_clone_has_keras_s_layers():
    ours, theirs = masked_branches(dt), masked_branches(keras)
    one, two = dt.clone_model(ours), keras.models.clone_model(theirs)
    assert [type_name(layer) for layer in one.layers] == [type(layer).__name__ for layer in two.layers]
    assert [tuple(weight.shape) for weight in one.weights] == [tuple(w.shape) for w in two.weights if "seed" not in w.path]
