"""Reshaping: numbers worked by hand, sizes that are not known, and refused arguments."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from disttrain import layers as L

RAMP = torch.arange(1.0, 5.0).reshape(1, 4, 1)
SQUARE = torch.arange(1.0, 5.0).reshape(1, 2, 2, 1)


@pytest.mark.parametrize(
    ("layer", "inputs", "expected"),
    [
        (L.Cropping1D((0, 3)), RAMP, [1]),
        (L.Cropping2D(((1, 0), (0, 1))), SQUARE, [3]),
        (L.Cropping2D(), SQUARE, [1, 2, 3, 4]),
        (L.ZeroPadding1D((1, 2)), RAMP, [0, 1, 2, 3, 4, 0, 0]),
        (L.ZeroPadding2D(((1, 0), (0, 1))), SQUARE, [0, 0, 0, 1, 2, 0, 3, 4, 0]),
        (L.UpSampling1D(2), RAMP, [1, 1, 2, 2, 3, 3, 4, 4]),
        (L.UpSampling2D((1, 2)), SQUARE, [1, 1, 2, 2, 3, 3, 4, 4]),
        (L.UpSampling2D((1, 2), interpolation="bilinear"), SQUARE, [1, 1.25, 1.75, 2, 3, 3.25, 3.75, 4]),
        (L.Flatten("channels_first"), torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), [1, 3, 2, 4]),
        (L.Permute((2, 1)), torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), [1, 3, 2, 4]),
        (L.RepeatVector(2), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), [1, 2, 1, 2, 3, 4, 3, 4]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_numbers_go_where_they_should(layer: L.Layer, inputs: torch.Tensor, expected: list[float]):
    assert layer(inputs).flatten().tolist() == pytest.approx(expected)


def test_a_cubic_curve_keeps_what_is_constant_and_overshoots_beside_a_step():
    sample = L.UpSampling2D((1, 2), interpolation="bicubic")
    assert sample(torch.full((1, 1, 4, 1), 3.0)).flatten().tolist() == pytest.approx([3.0] * 8)
    step = sample(torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]).reshape(1, 1, 6, 1)).flatten().tolist()
    # A quarter of a pixel from a centre, Keys's weights with a = -0.5 are -9, 111, 29 and -3 of 128.
    assert step[4:8] == pytest.approx([-9 / 128, 26 / 128, 102 / 128, 137 / 128])


def test_whole_numbers_can_be_padded_cropped_and_enlarged():
    inputs = torch.tensor([[[[1], [3]]]], dtype=torch.uint8)
    assert L.ZeroPadding2D(1)(inputs).dtype is torch.uint8
    assert L.UpSampling2D(2)(inputs).dtype is torch.uint8
    assert L.UpSampling2D((1, 2), interpolation="bilinear")(inputs).flatten().tolist() == [1, 2, 2, 3]


def test_sizes_that_are_not_known_stay_unknown():
    assert L.Reshape((-1, 2)).compute_output_shape((None, None, 4)) == (None, None, 2)
    assert L.Reshape((3, 2)).compute_output_shape((None, None)) == (None, 3, 2)
    assert L.Flatten().compute_output_shape((None, None, 4)) == (None, None)
    assert L.Cropping2D(1).compute_output_shape((None, None, 5, 3)) == (None, None, 3, 3)
    assert L.ZeroPadding1D(1, "channels_first").compute_output_shape((None, 3, None)) == (None, 3, None)
    assert L.UpSampling2D((2, 3)).compute_output_shape((None, None, 5, 3)) == (None, None, 15, 3)
    assert L.Permute((2, 1)).compute_output_shape((None, None, 5)) == (None, 5, None)
    assert L.RepeatVector(2).compute_output_shape((None, None)) == (None, 2, None)


def test_an_empty_batch_keeps_its_sizes():
    assert L.Reshape((-1, 2))(torch.zeros(0, 4)).shape == (0, 2, 2)
    assert L.Flatten()(torch.zeros(0, 4, 3)).shape == (0, 12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L.Reshape((2, -1, -1)), "-1 at most once"),
        (lambda: L.Reshape((2, -3)), "expected an integer, -1 or more"),
        (lambda: L.Reshape((3,))(torch.zeros(2, 4)), r"an input of shape \(2, 4\), 4 numbers a sample, cannot take target_shape=\(3,\)"),
        (lambda: L.Reshape((3, -1))(torch.zeros(2, 4)), "cannot take target_shape"),
        (lambda: L.Permute((0, 1)), r"Permute: Invalid permutation argument `dims`: expected each of 1 to"),
        (lambda: L.Permute((1, 3)), "each of 1 to 2 once"),
        (lambda: L.Permute((2, 1))(torch.zeros(2, 4)), "expected 3 axes"),
        (lambda: L.RepeatVector(0), r"RepeatVector\(n=0\): expected an integer, 1 or more"),
        (lambda: L.RepeatVector(2)(torch.zeros(2, 3, 4)), "expected 2 axes, batch and features"),
        (lambda: L.Cropping1D(-1), r"Cropping1D\(cropping=-1\): expected an integer of 0 or more"),
        (lambda: L.Cropping2D((1, 2, 3)), r"Cropping2D\(cropping=\(1, 2, 3\)\)"),
        (lambda: L.Cropping2D(1)(SQUARE), r"leaves nothing of an input of shape \(None, 2, 2, 1\)"),
        (lambda: L.Cropping3D(1)(SQUARE), "expected 5 axes"),
        (lambda: L.ZeroPadding2D(((1, 2), (3, -4))), r"ZeroPadding2D\(padding=\(\(1, 2\), \(3, -4\)\)\)"),
        (lambda: L.ZeroPadding1D((1, 2, 3)), r"ZeroPadding1D\(padding="),
        (lambda: L.UpSampling1D(0), r"UpSampling1D\(size=0\)"),
        (lambda: L.UpSampling2D(2, interpolation="lanczos3"), "torch has no Lanczos kernel"),
        (lambda: L.UpSampling2D(2, interpolation="biliner"), "expected one of bilinear"),
        (lambda: L.UpSampling3D(2)(SQUARE), "expected 5 axes"),
        (lambda: L.Flatten("last"), "expected 'channels_last'"),
    ],
)
def test_an_arrangement_that_cannot_be_is_refused_by_name(make: Any, message: str):
    with pytest.raises(ValueError, match=message):
        make()
