"""Files changed at random, or to do harm: they load or are refused with a ValueError, and take no more memory than they should."""

from __future__ import annotations

import copy
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from disttrain import layers as L
from disttrain.layers import ops
from disttrain.models import Input, Model, Sequential, load_model

SETTINGS = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def sound_model() -> Model:
    x = Input((6, 3), name="x")
    inner = Sequential([Input((3,)), L.Dense(3, "relu", kernel_regularizer="l2"), L.Dropout(0.5)], name="inner")
    y = L.LSTM(3)(L.Masking()(x)) + inner(ops.mean(x, axis=1))[:, :3] * 2.0
    model = Model(x, [L.Dense(2, name="out")(L.BatchNormalization()(y)), ops.concatenate([y, y], axis=-1)])
    model.compile("adam", loss=["mse", None], metrics=[["mae"], None])
    return model


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], bytes, bytes]:
    """(config, weights, the whole file) of a sound model."""
    path = tmp_path_factory.mktemp("sound") / "m.keras"
    sound_model().save(path)
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("config.json")), archive.read("model.weights.h5"), path.read_bytes()


def load(config: Any, weights: bytes, tmp_path: Path) -> Any:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights)
    return load_model(path, compile=False)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(
        ["Dense", "LSTM", "Functional", "Sequential", "Lambda", "__lambda__", "__numpy__", "os.system", "keras.layers", [], {}]
    ),
    st.lists(st.integers(-5, 10**9), max_size=4),
    st.dictionaries(st.sampled_from(["class_name", "config", "module", "value", "dtype", "axis"]), st.integers(-1, 5), max_size=3),
)


@SETTINGS
@given(data=st.data())
def test_a_config_with_anything_in_any_place_loads_or_is_refused(data: st.DataObject, sound: Any, tmp_path: Path):
    config, weights, _ = sound
    config = copy.deepcopy(config)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(places(config)[1:]))
        target = config
        for key in place[:-1]:
            target = target[key]
        if data.draw(st.booleans()):
            target[place[-1]] = data.draw(STRANGE)
        else:
            del target[place[-1]]
    try:
        assert isinstance(load(config, weights, tmp_path), Model)
    except ValueError as error:
        assert str(error)


@SETTINGS
@given(data=st.data())
def test_cut_and_flipped_files_load_the_same_or_are_refused(data: st.DataObject, sound: Any, tmp_path: Path):
    _, _, whole = sound
    path = tmp_path / "m.keras"
    path.write_bytes(whole)
    expected = load_model(path, compile=False).digest()
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        changed = changed[: data.draw(st.integers(0, len(changed)))]
    path.write_bytes(bytes(changed))
    try:
        assert load_model(path, compile=False).digest() == expected
    except ValueError as error:
        assert str(error)


@SETTINGS
@given(data=st.data())
def test_flipped_weights_are_read_within_the_file_or_refused(data: st.DataObject, sound: Any, tmp_path: Path):
    config, weights, _ = sound
    changed = bytearray(weights)
    for _ in range(data.draw(st.integers(1, 6))):
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        assert isinstance(load(config, bytes(changed), tmp_path), Model)  # here no checksum guards them
    except ValueError as error:
        assert str(error)


BOMBS = {
    "Tile": lambda x: ops.tile(x, (1, 2)),
    "Repeat": lambda x: ops.repeat(x, 2, axis=1),
    "Pad": lambda x: ops.pad(x, ((0, 0), (1, 1))),
    "OneHot": lambda x: ops.one_hot(ops.cast(x, "int32"), 4),
    "BroadcastTo": lambda x: ops.broadcast_to(ops.sum(x), (3, 4)),
}
HUGE: dict[str, tuple[str, Any]] = {
    "Tile": ("repeats", [10**6, 10**6]),
    "Repeat": ("repeats", 10**12),
    "Pad": ("pad_width", [[0, 10**6], [0, 10**6]]),
    "OneHot": ("num_classes", 10**11),
    "BroadcastTo": ("shape", [10**6, 10**6]),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_an_operation_that_would_fill_the_memory_is_refused_before_it_runs(kind: str, tmp_path: Path):
    x = Input((4,))
    model = Model(x, BOMBS[kind](x))
    model.save(tmp_path / "sound.keras")
    assert load_model(tmp_path / "sound.keras").get_config() == model.get_config()
    with zipfile.ZipFile(tmp_path / "sound.keras") as archive:
        config, weights = json.loads(archive.read("config.json")), archive.read("model.weights.h5")
    for layer in config["config"]["layers"]:
        if layer["class_name"] == kind:
            layer["config"][HUGE[kind][0]] = HUGE[kind][1]
    with pytest.raises(ValueError, match="which no model of a file needs"):
        load(config, weights, tmp_path)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x + ops.transpose(x),
        lambda x: ops.matmul(ops.transpose(x), x),
        lambda x: ops.outer(x, x),
        lambda x: ops.einsum("ij,kl->ijkl", x, x),
        lambda x: ops.tensordot(x, x, axes=0),
        lambda x: ops.dot(ops.transpose(x), x),
    ],
)
def test_sizes_that_multiply_are_refused_too(make: Any, tmp_path: Path):
    x = Input(batch_shape=(1, 50))
    Model(x, make(x)).save(tmp_path / "sound.keras")
    with zipfile.ZipFile(tmp_path / "sound.keras") as archive:
        text, weights = archive.read("config.json").decode(), archive.read("model.weights.h5")
    with pytest.raises(ValueError, match=r"which no model of a file needs"):
        load(json.loads(text.replace("50", "10000000")), weights, tmp_path)


def test_weights_that_claim_more_than_they_hold_are_refused(tmp_path: Path):
    """A dataset of the model's shape whose chunks were never written, in a file of a few kilobytes."""
    model = Sequential([Input((2,)), L.Dense(3)])
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        config, weights = json.loads(archive.read("config.json")), archive.read("model.weights.h5")
    config["config"]["layers"][1]["config"]["units"] = 10**8
    buffer = io.BytesIO(weights)
    with h5py.File(buffer, "r+") as file:
        for name, shape in (("0", (2, 10**8)), ("1", (10**8,))):
            del file[f"layers/dense/vars/{name}"]
            file.create_dataset(f"layers/dense/vars/{name}", shape=shape, dtype="f4", chunks=True, compression="gzip")
    with pytest.raises(ValueError, match="more than the file can hold"):
        load(config, buffer.getvalue(), tmp_path)


def test_optimizer_state_that_claims_more_than_the_file_is_refused(tmp_path: Path):
    model = Sequential([Input((2,)), L.Dense(3)])
    model.compile("adam", loss="mse")
    model.save_weights(tmp_path / "m.weights.h5")
    buffer = io.BytesIO((tmp_path / "m.weights.h5").read_bytes())
    with h5py.File(buffer, "r+") as file:
        del file["optimizer/vars/2"]
        file.create_dataset("optimizer/vars/2", shape=(10**9,), dtype="f4", chunks=True)
    (tmp_path / "m.weights.h5").write_bytes(buffer.getvalue())
    before = [np.array(weight) for weight in model.get_weights()]
    with pytest.raises(ValueError, match="larger than the file"):
        model.load_weights(tmp_path / "m.weights.h5")
    assert all(np.array_equal(one, two) for one, two in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize("depth", [2_000, 100_000])
def test_a_config_that_nests_too_deep_is_refused(depth: int, tmp_path: Path, sound: Any):
    text = '{"class_name": "Sequential", "config": {"layers": [' * depth + "]}}" * depth
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", text)
        archive.writestr("model.weights.h5", sound[1])
    with pytest.raises(ValueError, match=r"nests too deep|damaged"):
        load_model(path)
