"""Pooling: numbers worked by hand, masks, shapes that are not known, and refused arguments."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from disttrain import layers as L

RAMP = torch.tensor([1.0, 2.0, 3.0, 4.0, 6.0]).reshape(1, 5, 1)
SQUARE = torch.arange(1.0, 10.0).reshape(1, 3, 3, 1)


@pytest.mark.parametrize(
    ("layer", "inputs", "expected"),
    [
        (L.MaxPooling1D(), RAMP, [2, 4]),
        (L.MaxPooling1D(padding="same"), RAMP, [2, 4, 6]),
        (L.MaxPooling1D(2, 1, "same"), -RAMP, [-1, -2, -3, -4, -6]),  # a zero of padding would win
        (L.MaxPooling2D(2, 1, "same"), SQUARE, [5, 6, 6, 8, 9, 9, 8, 9, 9]),
        (L.AveragePooling1D(2), RAMP, [1.5, 3.5]),
        (L.AveragePooling1D(2, padding="same"), RAMP, [1.5, 3.5, 6]),  # the last window holds one step
        (L.AveragePooling1D(4, 1, "same"), RAMP, [2, 2.5, 3.75, 13 / 3, 5]),  # one before, two after
        (L.AveragePooling2D(2, padding="same"), SQUARE, [3, 4.5, 7.5, 9]),
        (L.AveragePooling3D((1, 5, 5), 1, "same"), SQUARE.reshape(1, 1, 3, 3, 1), [5] * 9),  # a window larger than the volume
        (L.GlobalMaxPooling2D(), SQUARE, [9]),
        (L.GlobalAveragePooling1D(), RAMP, [3.2]),
        (L.AdaptiveAveragePooling1D(2), RAMP, [2, 13 / 3]),  # windows 0..2 and 2..4
        (L.AdaptiveMaxPooling2D((1, 2)), SQUARE, [8, 9]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_windows_give_the_numbers_worked_by_hand(layer: L.Layer, inputs: torch.Tensor, expected: list[float]):
    assert layer(inputs).flatten().tolist() == pytest.approx(expected)


def test_a_mean_of_steps_leaves_out_what_a_mask_rules_out_and_has_no_mask_itself():
    inputs = torch.tensor([[[1.0], [3.0], [100.0]], [[5.0], [7.0], [9.0]]])
    inputs._keras_mask = torch.tensor([[True, True, False], [True, True, True]])  # type: ignore[attr-defined]
    y = L.GlobalAveragePooling1D()(inputs)
    assert y.flatten().tolist() == [2, 7] and not hasattr(y, "_keras_mask")


def test_equal_largest_values_share_the_gradient():
    inputs = torch.tensor([[[2.0], [2.0], [1.0]]], requires_grad=True)
    L.GlobalMaxPooling1D()(inputs).sum().backward()
    assert inputs.grad is not None and inputs.grad.flatten().tolist() == [0.5, 0.5, 0]


def test_integers_have_a_mean_in_the_dtype_of_the_computation():
    y = L.GlobalAveragePooling2D(dtype="float64")(torch.tensor([[[[1], [2]]]]))
    assert y.dtype is torch.float64 and y.item() == 1.5


def test_pooling_keeps_the_layout_in_memory():
    inputs = torch.randn(2, 6, 7, 3)
    for layer in (L.MaxPooling2D(), L.AveragePooling2D(2, padding="same"), L.AdaptiveAveragePooling2D(2)):
        assert layer(inputs).is_contiguous()


def test_sizes_that_are_not_known_stay_unknown():
    assert L.MaxPooling2D().compute_output_shape((None, None, 9, 3)) == (None, None, 4, 3)
    assert L.AveragePooling1D(2, padding="same", data_format="channels_first").compute_output_shape((None, 3, 5)) == (None, 3, 3)
    assert L.GlobalMaxPooling3D(keepdims=True).compute_output_shape((None, None, 2, 3, 4)) == (None, 1, 1, 1, 4)
    assert L.AdaptiveMaxPooling1D(3).compute_output_shape((None, None, 4)) == (None, 3, 4)


def test_the_short_names_are_the_same_classes():
    assert L.MaxPool2D is L.MaxPooling2D and L.AvgPool1D is L.AveragePooling1D
    assert L.GlobalMaxPool3D is L.GlobalMaxPooling3D and L.GlobalAvgPool2D is L.GlobalAveragePooling2D


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L.MaxPooling2D((2, 2, 2)), r"MaxPooling2D\(pool_size=\(2, 2, 2\)\): expected an integer of 1 or more, or 2 of them"),
        (lambda: L.MaxPooling2D(0), r"MaxPooling2D\(pool_size=0\)"),
        (lambda: L.MaxPooling1D(2, strides=-1), r"MaxPooling1D\(strides=-1\)"),
        (lambda: L.AveragePooling2D(2, padding="causal"), "expected 'valid' or 'same'"),
        (lambda: L.AveragePooling2D(2, data_format="last"), "expected 'channels_last'"),
        (lambda: L.AdaptiveAveragePooling3D((2, 2)), r"AdaptiveAveragePooling3D\(output_size=\(2, 2\)\)"),
        (lambda: L.MaxPooling2D(4)(SQUARE), "the window does not fit into an input of shape"),
        (lambda: L.MaxPooling2D()(RAMP), "expected 4 axes, batch, height, width and channels"),
        (lambda: L.GlobalMaxPooling1D()(SQUARE), "expected 3 axes, batch, steps and channels"),
        (lambda: L.AdaptiveMaxPooling1D(1)(SQUARE), "expected 3 axes"),
        (lambda: once(L.MaxPooling1D(), RAMP)(SQUARE), "expected 3 axes"),
    ],
)
def test_a_window_that_cannot_be_is_refused_by_name(make: Any, message: str):
    with pytest.raises(ValueError, match=message):
        make()


def once(layer: L.Layer, inputs: torch.Tensor) -> L.Layer:
    layer(inputs)
    return layer


@pytest.mark.parametrize("shape", [(2, 1), (1, 3), (3,), (2, 3, 1)])
def test_a_mask_of_another_shape_is_no_mask(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"GlobalAveragePooling1D .*: the mask has shape .*, expected \(batch, steps\), here \(2, 3\)"):
        L.GlobalAveragePooling1D()(torch.ones(2, 3, 4), mask=torch.ones(shape, dtype=torch.bool))
