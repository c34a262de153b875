"""Preprocessing: numbers worked by hand, what `adapt` takes, what random layers draw, and refused arguments."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from disttrain import layers as L
from disttrain.data import PyDataset
from disttrain.layers.context import CallContext, call_context

ROW = torch.tensor([[1.0], [2.0], [3.0], [4.0]]).reshape(1, 1, 4, 1)  # an image of one row
GRID = torch.arange(9.0).reshape(1, 3, 3, 1)
PICTURES = torch.rand(40, 6, 5, 3, generator=torch.Generator().manual_seed(0))

DRAWING = {
    "RandomBrightness": lambda **rest: L.RandomBrightness(0.3, (0, 1), **rest),
    "RandomContrast": lambda **rest: L.RandomContrast(0.3, (0, 1), **rest),
    "RandomCrop": lambda **rest: L.RandomCrop(2, 2, **rest),
    "RandomErasing": lambda **rest: L.RandomErasing(value_range=(0, 1), **rest),
    "RandomFlip": lambda **rest: L.RandomFlip(**rest),
    "RandomRotation": lambda **rest: L.RandomRotation(0.3, **rest),
    "RandomTranslation": lambda **rest: L.RandomTranslation(0.3, 0.3, **rest),
    "RandomZoom": lambda **rest: L.RandomZoom(0.3, 0.3, **rest),
}


def trained(layer: L.Layer, inputs: torch.Tensor, key: int = 1) -> torch.Tensor:
    with call_context(CallContext(training=True, key=key)):
        output: torch.Tensor = layer(inputs)
    return output


# -- numbers -----------------------------------------------------------------------------------------------------------------------------


def test_normalization_subtracts_the_mean_and_divides_by_the_deviation_and_back():
    data = np.array([[0.0, 7.0, 4.0], [2.0, 9.0, 6.0], [0.0, 7.0, 4.0], [2.0, 9.0, 6.0]])
    layer, inverse = L.Normalization(), L.Normalization(invert=True)
    layer.adapt(data)
    inverse.adapt(data)
    assert layer(torch.tensor([[0.0, 7.0, 4.0]])).tolist() == [[-1, -1, -1]]
    assert inverse(torch.tensor([[1.0, 2.0, 3.0]])).tolist() == [[2, 10, 8]]
    assert [name for name, _ in layer.named_weights()] == ["adapt_mean", "adapt_variance", "count"]
    assert layer.trainable_weights == []


def test_one_mean_for_everything_and_a_feature_that_never_changes():
    layer = L.Normalization(axis=None)
    layer.adapt(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert layer(torch.tensor([1.0, 3.0])).tolist() == pytest.approx([-(2**0.5), 0])
    constant = L.Normalization()
    constant.adapt(np.full((4, 1), 3.0))
    assert constant(torch.tensor([[3.0]])).item() == 0


class Batches(PyDataset):
    def __init__(self, data: np.ndarray) -> None:
        super().__init__()
        self.data = data

    def __len__(self) -> int:
        return -(-len(self.data) // 4)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.data[index * 4 : index * 4 + 4], 0


@pytest.mark.parametrize("kind", ["tensor", "list", "generator", "loader", "dataset"])
def test_normalization_adapts_to_the_same_from_every_kind_of_data(kind: str):
    data = np.random.default_rng(0).standard_normal((10, 3)) + 1e4  # far from zero: float32 would lose the variance
    given: Any = {
        "tensor": lambda: torch.from_numpy(data),
        "list": lambda: [data[:4], data[4:5], data[5:]],
        "generator": lambda: ((row[None], 1) for row in data),
        "loader": lambda: DataLoader(TensorDataset(torch.from_numpy(data), torch.zeros(10)), batch_size=4),
        "dataset": lambda: Batches(data),
    }[kind]()
    layer = L.Normalization(dtype="float64")
    layer.adapt(given)
    np.testing.assert_allclose(layer.adapt_mean, data.mean(0), rtol=1e-12)
    np.testing.assert_allclose(layer.adapt_variance, data.var(0), rtol=1e-6)


def test_categories_become_vectors_counts_and_sums_of_weights():
    inputs = torch.tensor([[0, 1], [0, 0], [3, 1]])
    weights = torch.tensor([[0.5, 0.25], [1.0, 2.0], [4.0, 0.0]])
    assert L.CategoryEncoding(4)(inputs).tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 1]]
    assert L.CategoryEncoding(4, "count")(inputs).tolist() == [[1, 1, 0, 0], [2, 0, 0, 0], [0, 1, 0, 1]]
    assert L.CategoryEncoding(4, "count")(inputs, count_weights=weights).tolist() == [[0.5, 0.25, 0, 0], [3, 0, 0, 0], [0, 0, 0, 4]]
    assert L.CategoryEncoding(3, "one_hot")(torch.tensor([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert L.CategoryEncoding(3)(torch.tensor([2, 0])).tolist() == [1, 0, 1]  # a vector is one sample
    deep = L.CategoryEncoding(3)(torch.tensor([[[0, 1], [2, 2]]]))
    assert deep.tolist() == [[[1, 1, 0], [0, 0, 1]]]  # the last axis is the sample, as documented


@pytest.mark.parametrize("inputs", [[[0, 4]], [[-1, 2]]])
def test_a_category_out_of_range_is_refused(inputs: list[list[int]]):
    with pytest.raises(ValueError, match="expected 0 to 3"):
        L.CategoryEncoding(4)(torch.tensor(inputs))


def test_bins_are_closed_below_and_open_above():
    inputs = torch.tensor([[-1.5, 1.0, 3.4, 0.5], [0.0, 3.0, 1.3, 0.0]])
    assert L.Discretization([0.0, 1.0, 2.0])(inputs).tolist() == [[0, 2, 3, 1], [1, 3, 2, 1]]
    adapted = L.Discretization(num_bins=4, epsilon=0.01)
    adapted.adapt(inputs.numpy())
    assert adapted(inputs).tolist() == [[0, 2, 3, 2], [1, 3, 3, 1]]  # the example in Keras's documentation


def test_a_scale_may_be_given_for_each_channel_and_integers_become_floats():
    y = L.Rescaling([1, 0.5], offset=np.array([0.0, 1.0]))(torch.tensor([[4, 6]], dtype=torch.uint8))
    assert y.tolist() == [[4, 4]] and y.dtype is torch.float32


# -- images ------------------------------------------------------------------------------------------------------------------------------


def test_resizing_keeps_bytes_and_proportions():
    image = torch.tensor([[0, 100], [200, 255]], dtype=torch.uint8).reshape(2, 2, 1)
    resized = L.Resizing(1, 1)(image)
    assert resized.dtype is torch.uint8 and resized.item() == 139  # 138.75
    wide = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 4, 1)
    assert L.Resizing(2, 2, crop_to_aspect_ratio=True)(wide).flatten().tolist() == [2, 2, 2, 2]
    padded = L.Resizing(4, 4, "nearest", pad_to_aspect_ratio=True, fill_value=9.0)(wide)  # a row above and one below, then four of three
    assert padded[0, :, 0, 0].tolist() == [9, 1, 1, 9]


def test_bicubic_resizing_does_not_leave_the_range_of_bytes():
    image = torch.tensor([0, 0, 255, 255], dtype=torch.uint8).reshape(1, 4, 1)
    assert L.Resizing(1, 8, "bicubic")(image).flatten().tolist()[:4] == [0, 0, 0, 52]


def test_center_crop_takes_the_middle_the_earlier_pixel_first():
    assert L.CenterCrop(1, 1)(GRID).item() == 4
    assert L.CenterCrop(1, 2)(GRID).flatten().tolist() == [3, 4]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (L.RandomTranslation(0, (0.25, 0.25)), [1, 1, 2, 3]),
        (L.RandomTranslation(0, (-0.5, -0.5)), [3, 4, 4, 3]),
        (L.RandomTranslation(0, (0.25, 0.25), "wrap"), [4, 1, 2, 3]),
        (L.RandomTranslation(0, (0.5, 0.5), "nearest"), [1, 1, 1, 2]),
        (L.RandomTranslation(0, (0.5, 0.5), "constant", fill_value=7.0), [7, 7, 1, 2]),
        (L.RandomTranslation(0, (0.125, 0.125), "constant"), [0.5, 1.5, 2.5, 3.5]),
        (L.RandomZoom(0.0, (-0.5, -0.5)), [1.75, 2.25, 2.75, 3.25]),
        (L.RandomRotation((0.5, 0.5), interpolation="nearest"), [4, 3, 2, 1]),
    ],
)
def test_an_image_is_moved_by_hand(layer: L.Layer, expected: list[float]):
    assert trained(layer, ROW).flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_a_quarter_turn_is_counter_clockwise():
    y = trained(L.RandomRotation((0.25, 0.25), interpolation="nearest"), GRID)
    assert y.flatten().tolist() == [2, 5, 8, 1, 4, 7, 0, 3, 6]


def test_flips_turn_half_of_the_images_over():
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1).expand(400, 2, 2, 1)
    for mode, flipped in (("horizontal", [2, 1, 4, 3]), ("vertical", [3, 4, 1, 2]), ("horizontal_and_vertical", [4, 3, 2, 1])):
        rows = trained(L.RandomFlip(mode), image).reshape(400, 4).tolist()
        assert all(row in ([1, 2, 3, 4], flipped) for row in rows) and 150 < rows.count(flipped) < 250


def test_brightness_is_a_share_of_the_range_and_the_result_stays_in_it():
    images = torch.tensor([0.0, 100.0, 200.0]).reshape(1, 1, 3, 1)
    assert trained(L.RandomBrightness((0.4, 0.4)), images).flatten().tolist() == pytest.approx([102, 202, 255])


def test_contrast_moves_pixels_from_the_mean_of_their_channel_within_its_range():
    images = torch.tensor([2.0, 4.0]).reshape(1, 1, 2, 1).expand(300, 1, 2, 1)
    y = trained(L.RandomContrast(0.5), images)
    spread = (y[:, 0, 1, 0] - y[:, 0, 0, 0]) / 2
    assert torch.allclose(y.mean((1, 2, 3)), torch.tensor(3.0))
    assert 0.5 <= float(spread.min()) < 0.55 and 1.45 < float(spread.max()) <= 1.5


def test_erasing_fills_one_rectangle_of_the_size_asked_for():
    y = trained(L.RandomErasing((1, 1), (0.25, 0.25), fill_value=5.0), torch.zeros(50, 8, 8, 1))
    for image in y[..., 0]:
        rows, columns = image.any(1).nonzero().flatten(), image.any(0).nonzero().flatten()
        assert len(rows) in (4, 5) and len(columns) in (4, 5) and image.unique().tolist() == [0, 5]
        assert torch.equal(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], torch.full((len(rows), len(columns)), 5.0))
    half = trained(L.RandomErasing((0.5, 0.5), fill_value=5.0), torch.zeros(400, 8, 8, 1)).amax((1, 2, 3))
    assert 150 < int((half > 0).sum()) < 250


def test_a_random_crop_is_a_window_of_the_image_and_every_window_comes():
    found = {tuple(trained(L.RandomCrop(2, 2), GRID, key).flatten().tolist()) for key in range(60)}
    assert found == {(a, a + 1, a + 3, a + 4) for a in (0.0, 1.0, 3.0, 4.0)}


@pytest.mark.parametrize("name", DRAWING)
def test_a_key_decides_the_draw_and_another_key_call_or_seed_gives_another(name: str):
    layer, seeded = DRAWING[name](), DRAWING[name](seed=9)
    outputs = [trained(layer, PICTURES, key) for key in range(4)]
    assert torch.equal(outputs[1], trained(layer, PICTURES))
    assert any(not torch.equal(outputs[0], other) for other in outputs[1:])
    assert any(not torch.equal(trained(seeded, PICTURES, key), outputs[key]) for key in range(4))
    with call_context(CallContext(training=True, key=1)):
        calls = [layer(PICTURES) for _ in range(4)]
    assert any(not torch.equal(calls[0], other) for other in calls[1:])


@pytest.mark.parametrize("name", sorted(set(DRAWING) - {"RandomCrop"}))
def test_each_image_is_changed_in_its_own_way_and_inference_changes_none(name: str):
    alike = PICTURES[:1].expand(40, 6, 5, 3)
    layer = DRAWING[name]()
    assert len(trained(layer, alike).flatten(1).unique(dim=0)) > 1
    assert torch.equal(layer(alike, training=False), alike)
    assert torch.equal(trained(layer, alike[0]), trained(layer, alike[:1])[0])  # one image without a batch


@pytest.mark.parametrize("name", DRAWING)
def test_bytes_become_floats_in_training_and_in_inference(name: str):
    layer, images = DRAWING[name](), (PICTURES * 255).byte()
    assert trained(layer, images).dtype is layer(images, training=False).dtype is torch.float32


def test_a_layer_that_is_not_told_whether_it_trains_draws_as_in_keras():
    assert not torch.equal(L.RandomRotation(0.3)(PICTURES), PICTURES)
    with call_context(CallContext(training=False)):
        assert torch.equal(L.RandomRotation(0.3)(PICTURES), PICTURES)


# -- refusals ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L.Rescaling("half"), "Rescaling(scale='half')"),
        (lambda: L.Normalization(mean=1.0), "expected both or none"),
        (lambda: L.Normalization(mean=[1.0], variance=1.0), "mean has shape (1,)"),
        (lambda: L.Normalization(None, [1.0], [1.0]), "at most 0 axes"),
        (lambda: L.Normalization("last"), "axis='last'"),
        (lambda: L.Normalization(3)(torch.ones(2, 2)), "axis=(3,) is not in an input of shape (None, 2)"),
        (lambda: L.Normalization(-1, [1.0, 2.0], [1.0, 2.0])(torch.ones(2, 3)), "does not fit"),
        (lambda: L.Normalization(mean=0.0, variance=1.0).adapt(np.ones((2, 2))), "made with mean and variance"),
        (lambda: L.Normalization().adapt([]), "no batch at all"),
        (lambda: L.Normalization().adapt([[1.0]]), "a batch of type float"),
        (lambda: L.Normalization().adapt(3), "got a int"),
        (lambda: L.Normalization().adapt([np.ones((2, 2)), np.ones((2, 3))]), "got data of shape (2, 3)"),
        (lambda: L.CategoryEncoding(), "num_tokens=None"),
        (lambda: L.CategoryEncoding(3, "hot"), "output_mode='hot'"),
        (lambda: L.CategoryEncoding(3, sparse=True), "sparse=True"),
        (lambda: L.CategoryEncoding(3)(torch.tensor([[1]]), count_weights=torch.ones(1, 1)), "output_mode='count'"),
        (lambda: L.CategoryEncoding(3, "count")(torch.tensor([[1]]), count_weights=torch.ones(1)), "count_weights has shape (1,)"),
        (lambda: L.Discretization(), "expected one of the two"),
        (lambda: L.Discretization([2.0, 1.0]), "in order"),
        (lambda: L.Discretization([0.0]).adapt(np.ones(3)), "made with bin_boundaries"),
        (lambda: L.Discretization(num_bins=3)(torch.ones(3)), "has no boundaries yet"),
        (lambda: L.Resizing(0, 2), "Resizing(height=0)"),
        (lambda: L.Resizing(2, 2, "lanczos3"), "no Lanczos kernel"),
        (lambda: L.Resizing(2, 2, "cubic"), "expected one of bicubic"),
        (lambda: L.Resizing(2, 2, fill_mode="wrap"), "fill_mode='wrap'"),
        (lambda: L.Resizing(2, 2, "nearest", True, True), "one of the two at most"),
        (lambda: L.CenterCrop(2, 2)(torch.ones(2, 2)), "expected a batch of images"),
        (lambda: L.RandomFlip("sideways"), "mode='sideways'"),
        (lambda: L.RandomFlip()({"images": torch.ones(1, 2, 2, 3)}), "got a dict"),
        (lambda: L.RandomRotation(0.1, "mirror"), "fill_mode='mirror'"),
        (lambda: L.RandomRotation(0.1, interpolation="bicubic"), "interpolation='bicubic'"),
        (lambda: L.RandomRotation(2), "factor=2"),
        (lambda: L.RandomZoom((-1, 0)), "above -1"),
        (lambda: L.RandomTranslation(0.1, (0.1, 0.2, 0.3)), "width_factor=(0.1, 0.2, 0.3)"),
        (lambda: L.RandomBrightness(0.1, (1,)), "value_range=(1,)"),
        (lambda: L.RandomContrast(-0.1), "expected a number from 0 to 1"),
        (lambda: L.RandomErasing(fill_value=[1, 2]), "fill_value=[1, 2]"),
    ],
)
def test_what_cannot_work_is_refused_by_name(make: Any, message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
