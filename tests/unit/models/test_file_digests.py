"""A bit that changed since a weight file was written is noticed; what others wrote loads, with a word that it cannot be checked."""

import json
import random
import struct

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch

import disttrain as dt
from disttrain import layers
from disttrain.models.saving import file_digest

ENDINGS = (".keras", ".weights.h5", ".safetensors")


def trained():
    dt.clear_session()
    dt.set_random_seed(3)
    model = dt.Sequential([dt.Input((5,)), layers.Dense(7, activation="relu"), layers.BatchNormalization(), layers.Dense(2)])
    model.compile("adam", "mse")
    rng = np.random.default_rng(0)
    model.fit(rng.normal(size=(16, 5)).astype("float32"), rng.normal(size=(16, 2)).astype("float32"), epochs=1, verbose=0)
    return model


def save(model, path):
    (model.save if path.name.endswith(".keras") else model.save_weights)(path)


def load(path):
    if path.name.endswith(".keras"):
        return dt.load_model(path)
    model = trained()
    model.load_weights(path)
    return model


def state(model):
    slots = [tensor.numpy().tobytes() for tensors in model.optimizer.slots.values() for tensor in tensors] if model.optimizer else []
    return model.digest(), slots


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_flipped_bit_is_refused_or_changes_nothing(ending, tmp_path):
    model = trained()
    path = tmp_path / f"model{ending}"
    save(model, path)
    whole, data, refused = state(model), path.read_bytes(), 0
    for number in range(60):
        chosen = random.Random(number)
        place = chosen.randrange(len(data))
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << chosen.randrange(8)]) + data[place + 1 :])
        try:
            found = load(path)
        except ValueError as error:
            assert path.name in str(error)
            refused += 1
        else:
            assert state(found) == whole, place
    assert refused > (10 if ending == ".weights.h5" else 50)  # most of a small HDF5 file is padding


@pytest.mark.parametrize("ending", [".weights.h5", ".safetensors"])
def test_a_damaged_file_is_named_with_what_to_do(ending, tmp_path):
    model = trained()
    path = tmp_path / f"model{ending}"
    save(model, path)
    data = path.read_bytes()
    place = data.index(model.layers[0].kernel.detach().numpy().tobytes())
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    with pytest.raises(ValueError, match=rf"model{ending} is damaged: its content is not what was written(.|\n)*another copy"):
        model.load_weights(path)
    with pytest.raises(ValueError, match="is damaged"):
        file_digest(path)


def test_what_others_wrote_loads_with_a_word_that_it_cannot_be_checked(tmp_path, caplog):
    model = trained()
    path = tmp_path / "others.safetensors"
    safetensors.torch.save_file({key: tensor.detach().clone() for key, tensor in model.named_weights()}, path)
    digest = model.digest()
    model.load_weights(path)
    assert model.digest() == digest and "others.safetensors holds no digest" in caplog.text
    caplog.clear()
    save(model, tmp_path / "ours.weights.h5")
    with h5py.File(tmp_path / "ours.weights.h5", "r+") as file:
        del file.attrs["disttrain_sha256"]  # as Keras writes it
    model.load_weights(tmp_path / "ours.weights.h5")
    assert model.digest() == digest and "ours.weights.h5 holds no digest" in caplog.text


def test_what_we_wrote_loads_without_a_word_and_others_can_read_it(tmp_path, caplog):
    model = trained()
    for ending in ENDINGS:
        save(model, tmp_path / f"model{ending}")
        load(tmp_path / f"model{ending}")
    assert not caplog.text
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert {key: tensor.tolist() for key, tensor in tensors.items()} == {key: w.tolist() for key, w in model.named_weights()}
    (length,) = struct.unpack("<Q", (tmp_path / "model.safetensors").read_bytes()[:8])
    header = json.loads((tmp_path / "model.safetensors").read_bytes()[8 : 8 + length])
    assert header["__metadata__"]["format"] == "pt" and length % 8 == 0


@pytest.mark.parametrize("ending", [".weights.h5", ".safetensors"])
def test_another_dtype_is_refused_by_name(ending, tmp_path):
    model = trained()
    path = tmp_path / f"model{ending}"
    save(model, path)
    dt.clear_session()
    half = dt.Sequential(
        [dt.Input((5,)), layers.Dense(7, activation="relu", dtype="float16"), layers.BatchNormalization(), layers.Dense(2)]
    )
    before = half.digest()
    expected = "dtype float32 in the file, float16 in the model"
    with pytest.raises(ValueError, match=expected):
        half.load_weights(path)
    assert half.digest() == before
    assert torch.float16 in {weight.dtype for _, weight in half.named_weights()}


@pytest.mark.parametrize("ending", [".weights.h5", ".safetensors", ".keras"])
@pytest.mark.parametrize(("narrow", "wide"), [("bfloat16", "float32"), ("float16", "float32"), ("float32", "float64")])
def test_numbers_of_a_narrower_dtype_are_read_as_they_are(ending, narrow, wide, tmp_path):
    def model_of(dtype: str):
        dt.clear_session()
        return dt.Sequential([dt.Input((5,)), layers.Dense(7, dtype=dtype)])

    model, wider = model_of(narrow), model_of(wide)
    with torch.no_grad():
        model.weights[1][0] = float("nan")
    path = tmp_path / f"model{ending}"
    save(model, path) if ending != ".keras" else model.save(path)
    wider.load_weights(path)
    for weight, there in zip(wider.weights, model.weights, strict=True):
        assert weight.dtype == getattr(torch, wide) and torch.equal(weight.nan_to_num(7.0), there.to(weight.dtype).nan_to_num(7.0))
