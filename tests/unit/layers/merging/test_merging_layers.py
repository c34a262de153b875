"""Merging: numbers worked by hand, masks, and shapes that do not go together."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from disttrain import layers as L

ONE, TWO = torch.tensor([[1.0, 5.0]]), torch.tensor([[4.0, 2.0]])
ELEMENTWISE = [L.Add, L.Average, L.Maximum, L.Minimum, L.Multiply, L.Subtract]


def masked(values: list[float], *mask: bool) -> torch.Tensor:
    """One sequence of steps of one feature; without `mask`, none."""
    tensor = torch.tensor(values).reshape(1, -1, 1)
    if mask:
        tensor._keras_mask = torch.tensor([mask])  # type: ignore[attr-defined]
    return tensor


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (L.Add(), [5, 7]),
        (L.Average(), [2.5, 3.5]),
        (L.Concatenate(), [1, 5, 4, 2]),
        (L.Dot(1), [14]),
        (L.Dot(-1, normalize=True), [14 / (26 * 20) ** 0.5]),
        (L.Maximum(), [4, 5]),
        (L.Minimum(), [1, 2]),
        (L.Multiply(), [4, 10]),
        (L.Subtract(), [-3, 3]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_two_tensors_make_one(layer: L.Layer, expected: list[float]):
    assert layer([ONE, TWO]).flatten().tolist() == pytest.approx(expected)


def test_a_tensor_of_fewer_axes_belongs_to_every_step():
    steps, vector = torch.zeros(2, 3, 4), torch.arange(8.0).reshape(2, 4)
    assert torch.equal(L.Add()([vector, steps])[:, 2], vector)


@pytest.mark.parametrize("cls", ELEMENTWISE)
def test_an_output_counts_where_any_input_does(cls: Any):
    y = cls()([masked([1, 2, 3], True, False, False), masked([4, 5, 6], True, True, False)])
    assert y._keras_mask.tolist() == [[True, True, False]]
    assert not hasattr(cls()([masked([1, 2, 3], True, False, False), masked([4, 5, 6])]), "_keras_mask")


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (L.Add(), [5, 7, 9, 11]),  # sums go over what does not count, as in Keras
        (L.Multiply(), [4, 2, 6, 0]),  # both, the first, the second, none
        (L.Maximum(), [4, 2, 6, 4]),  # where none counts the first one stays
        (L.Minimum(), [1, 2, 6, 4]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_what_a_mask_rules_out_does_not_enter_products_and_extremes(layer: L.Layer, expected: list[float]):
    one, two = masked([1, 2, 3, 4], True, True, False, False), masked([4, 5, 6, 7], True, False, True, False)
    assert layer([one, two]).flatten().tolist() == expected


def test_masks_are_joined_along_the_steps():
    joined = L.Concatenate(1)([masked([1, 2], True, False), masked([3])])
    assert joined._keras_mask.tolist() == [[True, False, True]]
    beside = L.Concatenate()([masked([1, 2, 3], True, False, False), masked([1, 2, 3], False, False, True)])
    assert beside._keras_mask.tolist() == [[True, False, True]]


def test_a_dot_product_has_no_mask():
    assert not hasattr(L.Dot(2)([masked([1, 2], True, False), masked([3, 4], True, True)]), "_keras_mask")


def test_the_direction_of_a_vector_of_zeros_has_a_gradient_of_zero_not_nan():
    zeros = torch.zeros(1, 2, requires_grad=True)
    y = L.Dot(1, normalize=True)([zeros, ONE])
    y.backward()
    assert y.item() == 0 and zeros.grad is not None and torch.isfinite(zeros.grad).all()


def test_the_axes_of_a_dot_product_go_and_the_others_stay_in_order():
    y = L.Dot((1, 3))([torch.ones(2, 4, 3), torch.ones(2, 5, 6, 4)])
    assert y.shape == (2, 3, 5, 6) and y.unique().tolist() == [4]


def test_sizes_that_are_not_known_stay_unknown_unless_another_input_says_them():
    assert L.Add().compute_output_shape([(None, None, 4), (None, None, 1)]) == (None, None, 4)
    assert L.Add().compute_output_shape([(None, 4), (3, 5, 4)]) == (3, 5, 4)
    assert L.Concatenate(1).compute_output_shape([(None, None, 4), (None, 2, 4)]) == (None, None, 4)
    assert L.Dot((1, 2)).compute_output_shape([(None, 3, None), (None, 10, 3)]) == (None, None, 10)
    assert L.Dot(1).compute_output_shape([(None, 3), (None, 3)]) == (None, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L.Add()(ONE), "expected a list of tensors"),
        (lambda: L.Add()({"a": ONE}), "expected a list of tensors"),
        (lambda: L.Add()([torch.ones(2, 3), torch.ones(2, 4)]), r"shapes \[.*\] do not broadcast"),
        (lambda: L.Add()([torch.ones(2, 3), torch.ones(1, 3)]), "batch sizes differ"),
        (lambda: L.Add().compute_output_shape([(2, 3), (1, 3)]), "batch sizes differ"),
        (lambda: L.Subtract()([ONE, ONE, ONE]), "a `Subtract` layer should be called on exactly 2 inputs, got 3"),
        (lambda: L.Concatenate(axis=1.5), r"Concatenate\(axis=1.5\): expected an integer"),
        (lambda: L.Concatenate(3)([ONE, TWO]), "with axis 3"),
        (lambda: L.Concatenate(1)([torch.ones(2, 3, 1), torch.ones(2, 3, 2)]), "matching shapes except for the concatenation axis, 1;"),
        (lambda: L.Dot(0), r"Dot\(axes=0\): expected an integer or two, not 0, which is the batch"),
        (lambda: L.Dot((1, 2, 3)), r"Dot\(axes=\(1, 2, 3\)\)"),
        (lambda: L.Dot(2)([ONE, TWO]), "axes=2 do not exist"),
        (lambda: L.Dot(1)([torch.ones(2, 3), torch.ones(2, 4)]), "have other sizes in axes=1"),
        (lambda: L.Dot(1)([ONE, TWO, ONE]), "expected a list of two tensors"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(make: Any, message: str):
    with pytest.raises(ValueError, match=message):
        make()
