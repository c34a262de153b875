"""What files may hold beside plain layers: code, custom classes, weights by name, files of other formats, assets."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from disttrain import layers as L
from disttrain.layers import ops
from disttrain.models import Input, Model, Sequential, load_model, save_model
from disttrain.models.saving import custom_objects, register
from disttrain.models.transfer import transfer_weights

X = torch.linspace(-1, 1, 12).reshape(3, 4)


# -- code -------------------------------------------------------------------------------------------------------------------------------


def halved(x: Any) -> Any:
    return x / 2


def shape_without_last(shape: tuple[Any, ...]) -> tuple[Any, ...]:
    return shape[:-1]


def test_a_lambda_is_saved_with_a_warning_and_read_only_when_told(tmp_path: Path):
    factor = 3.0
    model = Sequential([Input((4,)), L.Lambda(lambda x, add=1.0: ops.abs(x) * factor + add + torch.zeros(1))])
    with pytest.warns(UserWarning, match="saved as bytecode"):
        model.save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match=r"could do anything[\s\S]*safe_mode=False"):
        load_model(tmp_path / "m.keras")
    assert torch.equal(load_model(tmp_path / "m.keras", safe_mode=False)(X), X.abs() * 3 + 1)


def test_a_function_with_a_name_is_saved_by_it(tmp_path: Path):
    x = Input((4,))
    model = Model(x, L.Lambda(halved, name="half")(L.Activation(halved)(x)))
    model.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras", custom_objects={"halved": halved})
    assert torch.equal(again(X), X / 4) and again.get_layer("half").function is halved
    with pytest.raises(ValueError, match="halved"):
        load_model(tmp_path / "m.keras")
    with custom_objects({"halved": halved}):
        assert torch.equal(load_model(tmp_path / "m.keras")(X), X / 4)


def test_a_lambda_layer_keeps_its_arguments_and_shape(tmp_path: Path):
    def last(x: Any, scale: float) -> Any:
        return x[..., 0] * scale

    x = Input((4,))
    model = Model(x, L.Lambda(last, output_shape=shape_without_last, arguments={"scale": 2.0})(x))
    assert model.output_shape == (None,)
    model.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras", custom_objects={"last": last, "shape_without_last": shape_without_last})
    assert torch.equal(again(X), X[:, 0] * 2) and again.output_shape == (None,)


def test_a_lambda_gets_the_mask_and_may_give_one():
    def counted(x: Any, mask: Any = None) -> Any:
        return x.sum(-1) * (1.0 if mask is None else mask.float())

    model = Sequential([Input((3,), dtype="int32"), L.Embedding(4, 2, mask_zero=True), L.Lambda(counted)])
    assert (model(torch.tensor([[1, 0, 2]]))[0] == 0).tolist() == [False, True, False]
    kept = L.Lambda(halved, mask=lambda inputs, mask: inputs[..., 0] > 0)
    assert kept(torch.tensor([[[1.0], [-1.0]]]))._keras_mask.tolist() == [[True, False]]


@pytest.mark.parametrize("code", ["", "AAAA", "not base64!", None, 3])
def test_bytecode_that_is_none_is_refused(code: Any, tmp_path: Path):
    path = tmp_path / "m.keras"
    Sequential([Input((4,)), L.Activation("relu")]).save(path)
    with zipfile.ZipFile(path) as archive:
        config, weights = json.loads(archive.read("config.json")), archive.read("model.weights.h5")
    config["config"]["layers"][1]["config"]["activation"] = {"class_name": "__lambda__", "config": {"code": code}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights)
    with pytest.raises(ValueError, match="bytecode"):
        load_model(path, safe_mode=False)


def bent(y_true: Any, y_pred: Any) -> Any:
    return (y_true - y_pred).abs().mean(-1)


def test_how_a_model_was_compiled_comes_back(tmp_path: Path):
    x = Input((4,))
    model = Model(x, {"a": L.Dense(1, name="a")(x), "b": L.Dense(1, name="b")(x)})
    model.compile("sgd", loss={"a": bent, "b": "mse"}, loss_weights={"a": 1.0, "b": 0.5}, metrics={"b": ["mae", bent]}, jit_compile=True)
    model.steps_per_execution = 3
    model.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras", custom_objects={"bent": bent})
    assert again._compile_arguments == model._compile_arguments
    assert again.jit_compile is True and again.steps_per_execution == 3 and again.run_eagerly is False
    with pytest.warns(UserWarning, match="loaded without being compiled"):
        assert not load_model(tmp_path / "m.keras").compiled


# -- custom classes ---------------------------------------------------------------------------------------------------------------------


@register("contents")
class Scaled(L.Layer):
    def __init__(self, inner: Any, by: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner, self.by = inner, by

    def build(self, input_shape: Any) -> None:
        self.offset = self.add_weight("offset", (input_shape[-1],), "zeros")

    def call(self, x: Any, training: bool = False) -> Any:
        return self.inner(x + self.offset) * self.by

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.inner.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "inner": self.inner, "by": self.by}


@register("contents")
class Tower(Model):
    def __init__(self, widths: list[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.widths = widths
        self.blocks = [L.Dense(width, "relu") for width in widths]
        self.heads = {"a": L.Dense(1), "b": [L.Dense(2)]}

    def call(self, x: Any, training: bool = False) -> Any:
        for block in self.blocks:
            x = block(x)
        return self.heads["a"](x) + self.heads["b"][0](x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "widths": self.widths}


def test_custom_layers_and_models_come_back_with_what_is_inside_them(tmp_path: Path):
    for model in (Sequential([Input((4,)), Scaled(L.Dense(3), 0.5), L.Dense(1)]), Tower([3, 5])):
        expected = model(X)
        model.save(tmp_path / "m.keras")
        again = load_model(tmp_path / "m.keras")
        assert type(again) is type(model) and torch.equal(again(X), expected)
        assert [name for name, _ in again.named_weights()] == [name for name, _ in model.named_weights()]


def test_a_subclass_that_is_functional_keeps_its_class(tmp_path: Path):
    @register("contents")
    class Named(Model):
        pass

    x = Input((4,))
    model = Named(x, L.Dense(2)(x))
    model.save(tmp_path / "m.keras")
    assert type(load_model(tmp_path / "m.keras")) is Named and torch.equal(load_model(tmp_path / "m.keras")(X), model(X))


def test_registering_names_its_own_mistakes():
    with pytest.raises(ValueError, match="with brackets"):
        register(Scaled)
    with pytest.raises(ValueError, match=r"does not have a get_config\(\)"):
        register("contents")(type("Bare", (), {}))
    with pytest.raises(ValueError, match="expected a class or a function"), custom_objects({"x": 3}):
        pass


class Counting(L.Layer):
    """Keeps a text beside its weights, and makes something of its weights once they are read."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.words, self.doubled = ["none"], None

    def build(self, input_shape: Any) -> None:
        self.total = self.add_weight("total", (), "ones", trainable=False)

    def finalize_state(self) -> None:
        self.doubled = float(self.total) * 2

    def call(self, x: Any) -> Any:
        return x

    def save_assets(self, folder: str) -> None:
        Path(folder, "words.txt").write_text("\n".join(self.words))

    def load_assets(self, folder: str) -> None:
        self.words = Path(folder, "words.txt").read_text().split("\n")


def test_what_layers_keep_in_files_of_their_own_comes_back(tmp_path: Path):
    model = Sequential([Input((4,)), Counting()])
    model.layers[0].words = ["a", "b"]
    model.layers[0].total.fill_(3.0)
    save_model(model, tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        assert archive.namelist()[3:] == ["assets/layers/counting/words.txt"]
    again = load_model(tmp_path / "m.keras", custom_objects={"Counting": Counting})
    assert again.layers[0].words == ["a", "b"] and again.layers[0].doubled == 6.0


def test_a_member_that_leads_out_of_the_file_is_refused(tmp_path: Path):
    path = tmp_path / "m.keras"
    Sequential([Input((4,)), Counting()]).save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("assets/layers/counting/../../../evil.txt", "x")
    with pytest.raises(ValueError, match="leads out of the file"):
        load_model(path, custom_objects={"Counting": Counting})


# -- weights by name --------------------------------------------------------------------------------------------------------------------


def trained() -> Sequential:
    inner = Sequential([Input((3,)), L.Dense(3, name="deep")], name="inner")
    return Sequential([Input((4,)), L.Dense(3, name="base"), L.LSTM(2, name="read") if False else inner, L.Dense(7, name="old")])


def fine_tuned() -> Sequential:
    inner = Sequential([Input((3,)), L.Dense(3, name="deep")], name="inner")
    return Sequential([Input((4,)), L.Dense(3, name="base"), inner, L.Dense(2, name="new")])


@pytest.mark.parametrize("ending", ["m.keras", "m.weights.h5", "m.safetensors"])
def test_layers_are_loaded_by_their_names(ending: str, tmp_path: Path):
    old, new = trained(), fine_tuned()
    old.save(tmp_path / ending) if ending == "m.keras" else old.save_weights(tmp_path / ending)
    kept = new.get_layer("new").kernel.clone()
    with pytest.raises(ValueError):
        new.load_weights(tmp_path / ending)
    new.load_weights(tmp_path / ending, by_name=True)
    assert torch.equal(new.get_layer("base").kernel, old.get_layer("base").kernel)
    assert torch.equal(new.get_layer("inner").get_layer("deep").kernel, old.get_layer("inner").get_layer("deep").kernel)
    assert torch.equal(new.get_layer("new").kernel, kept)


def test_a_layer_of_that_name_and_another_shape_is_an_error_or_a_warning(tmp_path: Path):
    old, new = trained(), Sequential([Input((4,)), L.Dense(5, name="base"), L.Dense(3, name="other")])
    old.save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(ValueError, match=r"base.kernel: shape \(4, 3\) in the file, \(4, 5\) in the model"):
        new.load_weights(tmp_path / "m.weights.h5", by_name=True)
    with pytest.warns(UserWarning, match="base.bias"):
        new.load_weights(tmp_path / "m.weights.h5", by_name=True, skip_mismatch=True)
    stranger = Sequential([Input((4,)), L.Dense(5, name="stranger")])
    with pytest.raises(ValueError, match="no layer of the model is in the file, which has base"):
        stranger.load_weights(tmp_path / "m.weights.h5", by_name=True)


def test_weights_are_transferred_between_models_by_name():
    old, new = trained(), fine_tuned()
    assert transfer_weights(old, new) == ["base", "inner"]
    assert torch.equal(new.get_layer("inner").get_layer("deep").bias, old.get_layer("inner").get_layer("deep").bias)
    alone = Sequential([Input((3,)), L.Dense(3, name="deep"), L.Dense(2, name="old")])
    with pytest.raises(ValueError, match=r"old: \[\(3, 7\), \(7,\)\] in sequential"):
        transfer_weights(old, alone)
    with pytest.warns(UserWarning, match="left alone, old"):
        assert transfer_weights(old, alone, skip_mismatch=True) == ["deep"]
    with pytest.raises(ValueError, match="no layer"):
        transfer_weights(old, Sequential([Input((3,)), L.Dense(3, name="stranger")]))


# -- other formats ----------------------------------------------------------------------------------------------------------------------


def _hdf5(tmp_path: Path, name: str, attributes: dict[str, Any]) -> Path:
    with h5py.File(tmp_path / name, "w") as file:
        file.attrs.update(attributes)
        file.create_group("model_weights")
    return tmp_path / name


def _zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def _folder(path: Path, *files: str) -> Path:
    path.mkdir()
    for file in files:
        (path / file).write_bytes(b"")
    return path


def _torch_zip() -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(1)}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: _folder(p / "saved", "saved_model.pb"), "SavedModel folder of TensorFlow"),
        (lambda p: _folder(p / "ckpt", "checkpoint", "m.index"), "TensorFlow checkpoints"),
        (lambda p: _folder(p / "empty"), "this is a folder"),
        (lambda p: _folder(p / "x", "m.index") / "m", "checkpoint of TensorFlow"),
        (lambda p: p / "m.pth", "pickle of PyTorch"),
        (lambda p: p / "m.onnx", "ONNX graph"),
        (lambda p: p / "m.safetensors", r"expected a path ending in \.keras or \.h5"),
        (lambda p: p / "m.txt", r"expected a path ending in \.keras or \.h5"),
        (lambda p: _hdf5(p, "m.keras", {"model_config": "{}"}), "HDF5 file of Keras 2 under another name"),
        (lambda p: (p / "m.keras", (p / "m.keras").write_bytes(pickle.dumps([1])))[0], "a pickle, which could run code"),
        (lambda p: (p / "m.keras", (p / "m.keras").write_bytes(_torch_zip()))[0], "pickle of PyTorch"),
        (lambda p: _zip(p / "m.keras", {"config.json": b"{}", "model.weights.npz": b""}), r"weights in model\.weights\.npz"),
        (lambda p: _zip(p / "m.keras", {"metadata.json": b'{"keras_version": "4.1"}'}), r"a file of Keras 4\.1"),
    ],
)
def test_files_of_other_formats_are_refused_by_name_with_advice(make: Any, message: str, tmp_path: Path):
    with pytest.raises(ValueError, match=message) as caught:
        load_model(make(tmp_path))
    assert "expected" in str(caught.value)


def test_weights_in_several_files_are_refused_by_name():
    model = Sequential([Input((2,)), L.Dense(1)])
    with pytest.raises(ValueError, match="weights of Keras in several files"):
        model.load_weights("m.weights.json")


def test_arrays_and_slices_in_graphs_come_back(tmp_path: Path):
    x = Input((4,))
    model = Model(x, ops.add(x[:, 1:3], np.array([1.0, 2.0], dtype="float32")) * torch.tensor([2.0, 3.0]))
    model.save(tmp_path / "m.keras")
    assert torch.equal(load_model(tmp_path / "m.keras")(X), model(X))
    with pytest.raises(TypeError, match=r"ops\.take"):
        x[[0, 1]]
