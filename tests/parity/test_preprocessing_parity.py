"""Preprocessing beside Keras's: what `adapt` finds, encodings, sizes, affine maps, fixed draws of random layers, and files both ways."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from keras_parity import assert_same_layer, normal

import disttrain as dt
from disttrain import layers as L
from disttrain.layers.preprocessing.affine import affine_transform
from disttrain.layers.preprocessing.resize import resize
from disttrain.models.saving import serialize_object

# Keras's own, when it writes its variables and makes arrays of its tensors.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZES = st.integers(1, 7)
FORMATS = st.sampled_from(["channels_last", "channels_first"])


@pytest.fixture(autouse=True, scope="module")
def keras_adapts_without_tensorflow() -> Iterator[None]:
    """Keras asks whether data are a tf.data.Dataset, which needs TensorFlow installed."""
    nothing = SimpleNamespace(data=SimpleNamespace(Dataset=type("Dataset", (), {})), is_tensor=lambda _: False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras.src.layers.preprocessing.normalization.tf", nothing)
        patch.setattr("keras.src.layers.preprocessing.discretization.tf", nothing)
        yield


def floats(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def same(ours: Any, theirs: Any, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=tolerance, atol=tolerance)


# -- numbers and categories --------------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.integers(2, 4), st.data())
def test_normalization_by_arguments_is_that_of_keras(rank: int, data: st.DataObject):
    shape = data.draw(st.tuples(*[st.integers(1, 4)] * rank))
    axis = data.draw(st.one_of(st.none(), st.sets(st.integers(1, rank - 1), min_size=1).map(lambda axes: tuple(sorted(axes)))))
    kept = [shape[a] for a in axis or ()]
    given_shape = tuple(kept[data.draw(st.integers(0, len(kept))) :])  # fewer axes are the last ones
    mean, variance = floats(given_shape, 1), np.abs(floats(given_shape, 2)) + 0.1
    invert = data.draw(st.booleans())
    arguments = {"mean": mean.tolist(), "variance": variance.tolist(), "invert": invert}
    assert_same_layer(lambda L: L.Normalization(axis, **arguments), floats(shape))


@settings(max_examples=30)
@given(st.integers(2, 4), st.booleans(), st.data())
def test_normalization_adapts_to_arrays_and_to_batches_as_that_of_keras(rank: int, batched: bool, data: st.DataObject):
    shape = data.draw(st.tuples(st.integers(2, 9), *[st.integers(1, 4)] * (rank - 1)))
    axis = data.draw(st.one_of(st.none(), st.just(-1), st.sets(st.integers(1, rank - 1), min_size=1).map(tuple)))
    seen = floats(shape, 5) * 3 + 1
    ours, theirs = L.Normalization(axis), keras.layers.Normalization(axis)
    for layer in (ours, theirs):
        layer.adapt([(seen[:2], 0), (seen[2:], 0)] if batched and len(seen) > 2 else seen)
    for one, two in zip(ours.weights, theirs.weights, strict=True):
        same(one, two.value)
    x = floats((3, *shape[1:]))
    same(ours(x), theirs(torch.from_numpy(x)), 1e-4)


@settings(max_examples=30)
@given(st.sampled_from(["one_hot", "multi_hot", "count"]), st.integers(1, 5), st.data())
def test_category_encoding_is_that_of_keras(mode: str, tokens: int, data: st.DataObject):
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    inputs = np.random.default_rng(0).integers(0, tokens, shape)
    weights = {"count_weights": floats(shape)} if mode == "count" and data.draw(st.booleans()) else None
    assert_same_layer(lambda L: L.CategoryEncoding(tokens, mode), inputs, weights)


@settings(max_examples=30)
@given(st.sampled_from(["int", "one_hot", "multi_hot", "count"]), st.lists(st.integers(-3, 3), max_size=4), st.booleans())
def test_discretization_is_that_of_keras(mode: str, boundaries: list[int], whole: bool):
    inputs = np.random.default_rng(0).integers(-4, 5, (3, 4)).astype("int32" if whole else "float32")
    assert_same_layer(lambda L: L.Discretization(sorted(boundaries), output_mode=mode), inputs, gradients=False)


@settings(max_examples=25)
@given(st.integers(2, 8), st.sampled_from([0.01, 0.1]), st.integers(1, 400), st.integers(1, 3))
def test_discretization_finds_the_boundaries_that_keras_finds(bins: int, epsilon: float, count: int, batches: int):
    data = [floats((count, 2), seed) for seed in range(batches)]
    ours, theirs = L.Discretization(num_bins=bins, epsilon=epsilon), keras.layers.Discretization(num_bins=bins, epsilon=epsilon)
    for layer in (ours, theirs):
        layer.adapt(data[0] if batches == 1 else data)
    same(ours.bin_boundaries, theirs.bin_boundaries)
    assert normal(ours.get_config()) == normal(theirs.get_config())
    again = L.Discretization.from_config(ours.get_config())
    assert again.bin_boundaries == ours.bin_boundaries and again.num_bins == bins


# -- sizes of images ---------------------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(SIZES, SIZES, SIZES, SIZES, st.sampled_from(["bilinear", "nearest"]), st.sampled_from(["", "crop", "pad"]), FORMATS, st.booleans())
def test_resizing_is_that_of_keras(
    rows: int, columns: int, height: int, width: int, interpolation: str, keep: str, data_format: str, antialias: bool
):
    width += antialias and width == 1  # where torch, which Keras uses, is wrong
    arguments: dict[str, Any] = {"antialias": antialias, "data_format": data_format, "fill_value": 0.5}
    if keep:
        arguments[f"{keep}_to_aspect_ratio"] = True
    inputs = floats((2, rows, columns, 3) if data_format == "channels_last" else (2, 3, rows, columns))
    assert_same_layer(lambda L: L.Resizing(height, width, interpolation, **arguments), inputs)


@settings(max_examples=30)
@given(SIZES, SIZES, SIZES, st.integers(2, 7), st.sampled_from(["bilinear", "bicubic"]))
def test_antialiased_resizing_is_that_of_pillow(rows: int, columns: int, height: int, width: int, interpolation: str):
    images = torch.from_numpy(floats((2, 3, rows, columns)))
    expected = F.interpolate(images, (height, width), mode=interpolation, antialias=True)
    torch.testing.assert_close(resize(images, height, width, interpolation, antialias=True), expected, rtol=1e-4, atol=1e-5)
    turned = resize(images.mT, width, height, interpolation, antialias=True).mT  # torch is wrong for a width of 1, not for a height of 1
    torch.testing.assert_close(turned, expected, rtol=1e-4, atol=1e-5)
    if interpolation == "bicubic" and height >= rows and width >= columns:
        torch.testing.assert_close(resize(images, height, width, interpolation), expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=30)
@given(SIZES, SIZES, SIZES, SIZES, FORMATS)
def test_center_crop_is_that_of_keras(rows: int, columns: int, height: int, width: int, data_format: str):
    inputs = floats((2, rows, columns, 3) if data_format == "channels_last" else (2, 3, rows, columns))
    assert_same_layer(lambda L: L.CenterCrop(height, width, data_format), inputs)


@settings(max_examples=20)
@given(SIZES, SIZES, SIZES, SIZES)
def test_a_random_crop_that_does_not_draw_is_the_documented_cut_of_keras(rows: int, columns: int, height: int, width: int):
    inputs = floats((2, rows, columns, 3))
    expected = keras.preprocessing.image.smart_resize(inputs, (height, width), interpolation="bilinear")
    same(L.RandomCrop(height, width)(inputs, training=False), expected)


# -- moved and changed images ------------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    st.integers(1, 6), st.integers(1, 6), st.sampled_from(["bilinear", "nearest"]),
    st.sampled_from(["constant", "nearest", "reflect", "wrap"]), st.integers(0, 999),
)  # fmt: skip
def test_affine_maps_are_those_of_keras(height: int, width: int, interpolation: str, fill_mode: str, seed: int):
    images = floats((2, height, width, 3), seed)
    transform = floats((2, 8), seed + 1) * np.array([1, 1, 6, 1, 1, 6, 0, 0], "float32")
    expected = keras.ops.image.affine_transform(images, transform.copy(), interpolation, fill_mode, 0.75)
    ours = affine_transform(torch.from_numpy(images), torch.from_numpy(transform[:, :6]), interpolation, fill_mode, 0.75)
    same(ours, expected, 1e-4)


FIXED = {
    "RandomRotation": lambda L, one, two, **rest: L.RandomRotation((one, one), **rest),
    "RandomTranslation": lambda L, one, two, **rest: L.RandomTranslation((one, one), (two, two), **rest),
    "RandomZoom": lambda L, one, two, **rest: L.RandomZoom((one, one), (two, two), **rest),
    "RandomZoom, alike": lambda L, one, two, **rest: L.RandomZoom((one, one), **rest),
}


@settings(max_examples=40)
@given(
    st.sampled_from(sorted(FIXED)), st.floats(-0.9, 0.9), st.floats(-0.9, 0.9), st.integers(2, 6), st.integers(2, 6),
    st.sampled_from(["constant", "nearest", "reflect", "wrap"]), FORMATS, st.booleans(),
)  # fmt: skip
def test_an_image_is_moved_by_a_given_factor_as_in_keras(
    name: str, one: float, two: float, height: int, width: int, fill_mode: str, data_format: str, batched: bool
):
    shape = (height, width, 3) if data_format == "channels_last" else (3, height, width)
    inputs = torch.from_numpy(floats((2, *shape) if batched else shape))
    ours, theirs = (FIXED[name](M, one, two, fill_mode=fill_mode, fill_value=2.0, data_format=data_format) for M in (L, keras.layers))
    same(ours(inputs, training=True), theirs(inputs, training=True), 1e-3)
    assert normal(serialize_object(ours.get_config())) == normal(keras.saving.serialize_keras_object(theirs)["config"])


@settings(max_examples=20)
@given(st.floats(-1, 1), st.sampled_from([(0, 255), (0.0, 1.0), (-1, 1)]))
def test_an_image_is_brightened_by_a_given_factor_as_in_keras(factor: float, value_range: tuple[float, float]):
    inputs = torch.from_numpy(np.abs(floats((2, 3, 4, 3))))
    ours, theirs = (M.RandomBrightness((factor, factor), value_range) for M in (L, keras.layers))
    same(ours(inputs, training=True), theirs(inputs.clone(), training=True))  # Keras adds in place


@settings(max_examples=20)
@given(st.floats(0, 1), st.floats(0, 1))
def test_contrast_is_drawn_from_the_range_of_keras_and_changes_an_image_as_in_keras(lower: float, upper: float):
    inputs = torch.from_numpy(np.abs(floats((1, 3, 4, 3))))
    ours, theirs = (M.RandomContrast((lower, upper), (0, 2)) for M in (L, keras.layers))
    (drawn,) = ours._uniform(inputs, 1 - ours.factor[0], 1 + ours.factor[1])
    assert 1 - max(lower, upper) <= float(drawn) <= 1 + max(lower, upper) and ours.factor == theirs.factor
    ours._uniform = lambda *_: [drawn]  # type: ignore[method-assign]
    expected = theirs.transform_images(inputs, {"contrast_factor": drawn.reshape(-1, 1, 1, 1)}, training=True)
    same(ours(inputs, training=True), expected)


# -- files -------------------------------------------------------------------------------------------------------------------------------


def stack(module: Any, layers: Any) -> Any:
    model = module.Sequential(
        [
            layers.Input((6, 5, 3)),
            layers.Resizing(4, 5, "nearest"),
            layers.RandomFlip("horizontal", seed=1),
            layers.RandomRotation(0.1),
            layers.CenterCrop(4, 4),
            layers.Rescaling([0.5, 1.0, 2.0], offset=0.1),
            layers.Normalization(),
            layers.RandomContrast((0.1, 0.2)),
            layers.GaussianNoise(0.1),
            layers.SpatialDropout2D(0.5),
            layers.Flatten(),
            layers.Dense(2),
            layers.Discretization(num_bins=3, output_mode="one_hot"),
        ]
    )
    model.layers[5].adapt(floats((9, 4, 4, 3), 3) * 2 + 1)
    model.layers[-1].adapt(floats((50, 2), 4))
    return model


def test_an_adapted_model_goes_to_keras_and_comes_back(tmp_path: Path):
    images = floats((3, 6, 5, 3))
    ours = stack(dt, L)
    ours.save(tmp_path / "ours.keras")
    theirs = keras.saving.load_model(tmp_path / "ours.keras")
    expected = ours.predict(images, verbose=0)
    same(theirs.predict(images, verbose=0), expected)
    theirs.save(tmp_path / "theirs.keras")
    same(dt.load_model(tmp_path / "theirs.keras").predict(images, verbose=0), expected)


def test_an_adapted_model_of_keras_comes_here(tmp_path: Path):
    images = floats((3, 6, 5, 3))
    theirs = stack(keras, keras.layers)
    theirs.save(tmp_path / "theirs.keras")
    ours = dt.load_model(tmp_path / "theirs.keras")
    same(ours.predict(images, verbose=0), theirs.predict(images, verbose=0))
    same(ours.layers[5].adapt_variance, theirs.layers[5].adapt_variance.value)


@pytest.mark.parametrize("scale", [np.array([1.0, 2.0], "float32"), [1.0, 2.0], 3])
def test_a_scale_given_as_an_array_comes_out_of_a_file_of_keras(scale: Any, tmp_path: Path):
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Rescaling(scale)])
    model.save(tmp_path / "m.keras")
    x = floats((3, 2))
    same(dt.load_model(tmp_path / "m.keras").predict(x, verbose=0), x * np.asarray(scale))
