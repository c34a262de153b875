"""Files that hold models: round trips, files of Keras, and files made to do harm."""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from disttrain import layers as L
from disttrain.layers.structure import flatten
from disttrain.models import Input, Model, Sequential, load_model
from disttrain.models.saving import file_digest, register

FILES = Path(__file__).parent / "files"


def ramp(shape: tuple[int, ...]) -> np.ndarray:
    return np.sin(np.arange(math.prod(shape)) * 1.3 + 0.5).astype("float32").reshape(shape)


def branched() -> Model:
    a, b = Input((4, 4, 1), name="image"), Input((3,), name="vector")
    x = L.BatchNormalization()(L.Conv2D(2, 3, activation="relu", kernel_regularizer="l2")(a))
    shared = L.Dense(3, activation="tanh")
    y = shared(shared(b))
    z = L.Dropout(0.5)(L.Concatenate()([L.Flatten()(x), y]))
    g, _ = L.GRU(2, return_state=True)(L.Reshape((1, 11))(z))
    inner = Sequential([Input((2,)), L.Dense(2)], name="inner")
    return Model([a, b], {"out": L.Dense(2, activation="softmax", name="out")(inner(g) * 2.0 + g), "mid": y})


# -- files of Keras ---------------------------------------------------------------------------------------------------------------------


def test_a_model_that_keras_saved_computes_keras_s_numbers():
    model = load_model(FILES / "keras_functional.keras")
    result = model([ramp((2, 4, 4, 1)), ramp((2, 3))])
    assert result["mid"].flatten().tolist() == pytest.approx([0.160284, 0.29097, -0.00138, 0.096207, 0.632927, 0.293832], abs=2e-6)
    assert result["out"].flatten().tolist() == pytest.approx([0.529856, 0.470144, 0.531343, 0.468657], abs=2e-6)
    assert model.compiled and type(model.optimizer).__name__ == "Adam" and float(model.optimizer.learning_rate) == pytest.approx(0.01)
    assert len(model.regularization_losses()) == 1


def test_layers_and_weights_come_in_keras_s_order():
    model = load_model(FILES / "keras_functional.keras", compile=False)
    kernels = [name for name, _ in model.named_weights()]
    assert kernels[:4] == ["conv2d.kernel", "conv2d.bias", "dense.kernel", "dense.bias"]
    assert kernels[8:] == [
        "gru.cell.kernel",
        "gru.cell.recurrent_kernel",
        "gru.cell.bias",
        "inner.dense_1.kernel",
        "inner.dense_1.bias",
        "out.kernel",
        "out.bias",
    ]
    assert not model.compiled


def test_weights_that_keras_saved_load_into_the_same_chain():
    model = Sequential(
        [Input((5,)), L.Embedding(7, 3), L.LSTM(2, return_sequences=True), L.SimpleRNN(2), L.LayerNormalization(), L.Dense(1)]
    )
    model.load_weights(FILES / "keras_recurrent.weights.h5")
    result = model(np.array([[0, 1, 2, 3, 4], [6, 5, 4, 3, 2]]))
    assert result.flatten().tolist() == pytest.approx([0.6210787296, 0.5550633669], abs=2e-6)


def test_our_files_have_the_groups_that_keras_looks_for(tmp_path: Path):
    model = branched()
    model.save(tmp_path / "ours.keras")
    names = []
    for path in (tmp_path / "ours.keras", FILES / "keras_functional.keras"):
        with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
            assert archive.namelist() == ["metadata.json", "config.json", "model.weights.h5"]
            found: dict[str, Any] = {}
            file.visititems(lambda name, item, found=found: found.update({name: getattr(item, "shape", None)}))
            names.append({name: shape for name, shape in found.items() if not name.startswith("optimizer")})
    assert names[0] == names[1]


# -- round trips ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".keras", ".weights.h5", ".safetensors"])
def test_weights_come_back_bit_for_bit_from_every_format(tmp_path: Path, ending: str):
    model, other = branched(), branched()
    path = tmp_path / "new" / f"model{ending}"
    model.save(path) if ending == ".keras" else model.save_weights(path)
    assert other.digest() != model.digest()
    for (_, theirs), ours in zip(other.named_weights(), model.named_weights(), strict=True):
        assert theirs.shape == ours[1].shape
    renamed = [name for name, _ in other.named_weights()] != [name for name, _ in model.named_weights()]
    if ending == ".safetensors" and renamed:
        with pytest.raises(ValueError, match="not in the file"):
            other.load_weights(path)
        L.clear_session()
        other = branched()
    other.load_weights(path)
    assert all(torch.equal(one, two) for one, two in zip(other.weights, model.weights, strict=True))
    assert file_digest(path) == model.digest()
    assert os.listdir(path.parent) == [path.name]


def test_a_loaded_model_is_the_saved_one(tmp_path: Path):
    model = branched()
    model.compile("adam", loss={"out": "mse"}, metrics={"out": ["mae"]})
    model.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras")
    assert again.digest() == model.digest() and again.get_config() == model.get_config()
    inputs = [ramp((2, 4, 4, 1)), ramp((2, 3))]
    assert all(torch.equal(one, two) for one, two in zip(flatten(again(inputs)), flatten(model(inputs)), strict=True))
    assert again._compile_arguments["loss"] == {"out": "mse"} and type(again.optimizer).__name__ == "Adam"


def test_a_url_is_a_path(tmp_path: Path):
    model = Sequential([Input((2,)), L.Dense(1)])
    model.save("memory://models/m.keras")
    assert load_model("memory://models/m.keras").digest() == model.digest()


def test_bfloat16_survives(tmp_path: Path):
    model = Sequential([Input((2,)), L.Dense(1, dtype="bfloat16")])
    model.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras")
    assert again.digest() == model.digest() == file_digest(tmp_path / "m.keras") and again.weights[0].dtype is torch.bfloat16


def test_an_existing_file_is_kept_when_told_so_and_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, model = tmp_path / "m.keras", Sequential([Input((2,)), L.Dense(1)])
    model.save(path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        model.save(path, overwrite=False)
    model.set_weights([w + 1 for w in model.get_weights()])
    monkeypatch.setattr(os, "fsync", _full_disk)
    with pytest.raises(OSError, match="No space"):
        model.save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["m.keras"]


def _full_disk(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_layer_shared_by_two_nested_models_stays_one(tmp_path: Path):
    shared = L.Dense(2, name="shared")
    one = Sequential([Input((2,)), shared], name="one")
    two = Sequential([Input((2,)), shared], name="two")
    x = Input((2,))
    Model(x, two(one(x))).save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras")
    assert again.get_layer("one").layers[0] is again.get_layer("two").layers[0]


@register("tests")
class Gain(L.Layer):
    def __init__(self, start: float, inner: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start, self.inner = start, inner

    def build(self, input_shape: Any) -> None:
        self.gain = self.add_weight("gain", (), init=lambda shape, dtype: torch.full(shape, self.start, dtype=dtype))

    def call(self, x: Any) -> Any:
        return self.gain * (x if self.inner is None else self.inner(x))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "start": self.start, "inner": self.inner}


class Stranger(Gain):
    pass


@register("tests")
def doubled(x: Any) -> Any:
    return 2 * x


def test_registered_layers_and_functions_are_found_again(tmp_path: Path):
    model = Sequential([Input((2,)), Gain(3.0, inner=L.Dense(2)), L.Activation(doubled)])
    model.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras")
    assert isinstance(again.layers[0].inner, L.Dense) and again.layers[1].activation is doubled
    assert torch.equal(again(torch.ones(1, 2)), model(torch.ones(1, 2)))


def test_a_class_that_is_not_registered_needs_custom_objects(tmp_path: Path):
    Sequential([Input((2,)), Stranger(3.0)]).save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="class 'Stranger', which is not known here"):
        load_model(tmp_path / "m.keras")
    assert isinstance(load_model(tmp_path / "m.keras", custom_objects={"Stranger": Stranger}).layers[0], Stranger)


def test_code_cannot_be_saved_as_data(tmp_path: Path):
    for layer in (nn.Linear(2, 2), L.Activation(torch.nn.ReLU())):
        with pytest.raises((ValueError, NotImplementedError), match=r"code|torch module"):
            Sequential([Input((2,)), layer]).save(tmp_path / "m.keras")
    assert os.listdir(tmp_path) == []


def test_a_setting_that_is_code_is_left_out_with_a_warning(tmp_path: Path):
    model = Sequential([Input((2,)), L.Dense(1)])
    model.compile("sgd", loss=lambda y, p: (y - p).abs())
    with pytest.warns(UserWarning, match="is code"):
        model.save(tmp_path / "m.keras")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, p: m.save(p / "m.pt"), "ending in .keras"),
        (lambda m, p: m.save_weights(p / "m.h5"), "ending in .weights.h5 or .safetensors"),
        (lambda m, p: m.load_weights(FILES / "keras_recurrent.weights.h5"), "dense.kernel|no group"),
        (lambda m, p: Sequential([L.Dense(1)]).save(p / "m.keras"), "no weights yet"),
    ],
)
def test_mistakes_with_paths_and_models_are_named(tmp_path: Path, call: Any, message: str):
    with pytest.raises(ValueError, match=message):
        call(Sequential([Input((2,)), L.Dense(2)]), tmp_path)


def test_a_mismatch_changes_nothing_unless_it_may_be_skipped(tmp_path: Path):
    small = Sequential([Input((2,)), L.Dense(3, name="a"), L.Dense(1, name="b")])
    large = Sequential([Input((2,)), L.Dense(3, name="a"), L.Dense(2, name="b")])
    small.save_weights(tmp_path / "m.weights.h5")
    before = large.digest()
    with pytest.raises(ValueError, match=r"b.kernel: shape \(3, 1\) in the file, \(3, 2\) in the model"):
        large.load_weights(tmp_path / "m.weights.h5")
    assert large.digest() == before
    with pytest.warns(UserWarning, match=r"b.bias"):
        large.load_weights(tmp_path / "m.weights.h5", skip_mismatch=True)
    assert torch.equal(large.weights[0], small.weights[0])


# -- files made to do harm --------------------------------------------------------------------------------------------------------------


def tampered(tmp_path: Path, change: Any = None, weights: Any = None) -> Path:
    """A sound file with its config or its weights changed."""
    source, path = tmp_path / "sound.keras", tmp_path / "bad.keras"
    Sequential([Input((2,)), L.Dense(3)]).save(source)
    with zipfile.ZipFile(source) as archive:
        config, h5 = json.loads(archive.read("config.json")), archive.read("model.weights.h5")
    config = change(config) or config if change else config
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        archive.writestr("model.weights.h5", weights(h5) if weights else h5)
    return path


def _dense(config: Any) -> Any:
    return config["config"]["layers"][1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: _dense(c).update(class_name="system", module="os", registered_name=None), "not known here"),
        (lambda c: _dense(c).update(class_name="Lambda", config={"function": {"class_name": "__lambda__"}}), "could do anything|code"),
        (lambda c: _dense(c)["config"].update(activation={"class_name": "__lambda__", "config": {"code": "AAAA"}}), "could do anything"),
        (lambda c: _dense(c)["config"].update(units=10**9), "more than the file can hold"),
        (lambda c: _dense(c)["config"].update(units=4), "does not fit"),
        (lambda c: _dense(c)["config"].update(nonsense=1), "no such argument"),
        (lambda c: c["config"].pop("layers"), "not that of a model"),
        (lambda c: '{"a":' * 100_000, "damaged"),
        (lambda c: "[1, 2]", "not that of a model"),
    ],
)
def test_a_hostile_config_is_refused(tmp_path: Path, change: Any, message: str):
    with pytest.raises(ValueError, match=message):
        load_model(tampered(tmp_path, change))


def _with_link(link: Any) -> Any:
    def change(data: bytes) -> bytes:
        buffer = io.BytesIO(data)
        with h5py.File(buffer, "r+") as file:
            del file["layers/dense/vars/0"]
            file["layers/dense/vars/0"] = link
        return buffer.getvalue()

    return change


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (_with_link(h5py.ExternalLink("/etc/passwd", "/")), "link to somewhere else"),
        (_with_link(h5py.SoftLink("/layers/dense/vars/1")), "link to somewhere else"),
        (_with_link(np.array([b"text"])), "does not fit"),
        (lambda data: data[: len(data) // 2], "HDF5|damaged|does not fit"),
        (lambda data: b"not hdf5", "no sound HDF5"),
    ],
)
def test_hostile_weights_are_refused(tmp_path: Path, weights: Any, message: str):
    with pytest.raises(ValueError, match=message):
        load_model(tampered(tmp_path, weights=weights))


def test_a_bomb_and_a_stump_are_refused(tmp_path: Path):
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * (65 << 20))
    with pytest.raises(ValueError, match="at most"):
        load_model(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(ValueError, match=r"has no model\.weights\.h5"):
        load_model(path)
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"no \.keras file"):
        load_model(path)
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "none.keras")


def test_every_flipped_byte_of_a_config_or_weight_is_noticed_or_harmless(tmp_path: Path):
    path = tmp_path / "m.keras"
    model = Sequential([Input((2,)), L.Dense(1)])
    model.save(path)
    sound, expected = path.read_bytes(), model.digest()
    for place in range(0, len(sound), 97):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 0xFF]) + sound[place + 1 :])
        try:
            assert load_model(path).digest() == expected
        except ValueError:
            continue
