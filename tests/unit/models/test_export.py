"""`model.export`: programs without layers that compute what the model does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from disttrain import layers as L
from disttrain.layers.structure import flatten, map_structure
from disttrain.models import Input, Model, Sequential

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's own, on the way
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.leaves_behind("environment", "threads"),  # the folder of a compiler's cache; tqdm's monitor
]


def rand(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def image_model() -> tuple[Model, Any]:
    layers = [Input((8, 8, 3)), L.Conv2D(4, 3, padding="same", strides=2, activation="gelu"), L.BatchNormalization(), L.MaxPooling2D()]
    return Sequential([*layers, L.Flatten(), L.Dropout(0.5), L.Dense(2, "softmax", name="probabilities")]), rand(2, 8, 8, 3)


def sequence_model() -> tuple[Model, Any]:
    words, signal = Input((6,), dtype="int32", name="words"), Input((6, 4), name="signal")
    read = L.LSTM(4, name="read")(L.Embedding(9, 4, mask_zero=True)(words))  # masked
    seen = L.LayerNormalization()(signal + L.MultiHeadAttention(2, 3)(signal, signal))
    mean = L.GlobalAveragePooling1D()(seen)
    model = Model([words, signal], [L.Concatenate(name="both")([read, mean]), L.Dense(1, name="last")(mean)])
    return model, [torch.tensor([[1, 2, 0, 0, 0, 0], [3, 0, 4, 5, 0, 0]]).int(), rand(2, 6, 4)]


def structured_model() -> tuple[Model, Any]:
    a, b = Input((4,), name="a"), Input((2,), name="b")
    outputs = {"y": L.Dense(2, name="y")(L.Concatenate()([a, b])), "z": abs(a[:, :2]) * 2 - 1}
    return Model({"a": a, "b": b}, outputs), {"a": rand(2, 4), "b": rand(2, 2)}


@pytest.mark.parametrize("make", [image_model, sequence_model, structured_model])
def test_a_program_for_torch_computes_what_the_model_does_for_any_batch(make: Any, tmp_path: Path):
    model, x = make()
    model.export(tmp_path / "m.pt2")
    program = torch.export.load(tmp_path / "m.pt2").module()
    for given in (x, map_structure(lambda leaf: torch.cat([leaf] * 4), x), map_structure(lambda leaf: leaf[:1], x)):
        for one, two in zip(flatten(program(given)), flatten(model(given)), strict=True):
            torch.testing.assert_close(one, two)


@pytest.mark.parametrize("make", [image_model, sequence_model])
def test_an_onnx_graph_computes_what_the_model_does_for_any_batch(make: Any, tmp_path: Path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, x = make()
    model.export(tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_outputs()] == model.output_names and session.get_inputs()[0].shape[0] == "batch"
    for given in (map_structure(lambda leaf: torch.cat([leaf] * 4), x), map_structure(lambda leaf: leaf[:1], x)):
        leaves = {entry.name: leaf.numpy() for entry, leaf in zip(session.get_inputs(), flatten(given), strict=True)}
        for one, two in zip(session.run(None, leaves), flatten(model(given)), strict=True):
            np.testing.assert_allclose(one, two.detach().numpy(), rtol=1e-4, atol=1e-5)


class Custom(Model):
    def __init__(self) -> None:
        super().__init__()
        self.first = L.Dense(3, "relu")

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        return self.first(x) * 2


class Deciding(Custom):
    def call(self, x: Tensor, training: bool = False) -> Tensor:
        return self.first(x) if x.sum() > 0 else x


def test_a_model_that_is_code_is_exported_too(tmp_path: Path):
    model, x = Custom(), rand(4, 5)
    with pytest.raises(ValueError, match="no weights yet"):
        model.export(tmp_path / "m.pt2")
    model(x)
    with pytest.raises(ValueError, match=r"is not known.*\n.*input_signature"):
        Custom.export(_built_by_hand(), tmp_path / "m.pt2")
    model.export(tmp_path / "m.pt2")
    torch.testing.assert_close(torch.export.load(tmp_path / "m.pt2").module()(x), model(x))
    model.export(tmp_path / "m.pt2", input_signature=x[:1])
    torch.testing.assert_close(torch.export.load(tmp_path / "m.pt2").module()(x), model(x))


def _built_by_hand() -> Custom:
    model = Custom()
    model.first.build((None, 5))
    model.built = True
    return model


def test_what_depends_on_values_is_refused_with_the_reason(tmp_path: Path):
    model = Deciding()
    model(rand(2, 3))
    with pytest.raises(ValueError, match=r"cannot be exported to torch[\s\S]*decides nothing by the values"):
        model.export(tmp_path / "m.pt2")


def test_a_size_that_cannot_stay_free_is_refused_and_not_frozen_silently(tmp_path: Path):
    x = Input((None, 3), name="x")
    model = Model(x, L.LSTM(2)(x))
    with pytest.raises(ValueError, match="axis 1 of 'x' cannot be of any size"):
        model.export(tmp_path / "m.pt2")
    model.export(tmp_path / "m.pt2", input_signature=Input((4, 3)))
    assert torch.export.load(tmp_path / "m.pt2").module()(rand(5, 4, 3)).shape == (5, 2)


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("m.h5", {}, r"ending in \.pt2"),
        ("m.pt2", {"format": "onnx"}, r"ending in \.onnx"),
        ("m", {"format": "tf_saved_model"}, "it needs TensorFlow"),
        ("m", {"format": "coreml"}, "expected 'torch' or 'onnx'"),
        ("m.pt2", {"input_signature": [3]}, "neither what Input"),
    ],
)
def test_mistakes_are_named(path: str, options: dict[str, Any], message: str, tmp_path: Path):
    with pytest.raises(ValueError, match=message):
        structured_model()[0].export(tmp_path / path, **options)


def test_without_onnx_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"pip install 'disttrain\[onnx\]'"):
        structured_model()[0].export(tmp_path / "m.onnx")
