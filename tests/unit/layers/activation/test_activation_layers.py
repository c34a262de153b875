"""Numbers, masks and errors of the activation layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from disttrain import layers as L


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (L.ReLU(), [0.0, 0.0, 4.0]),
        (L.ReLU(max_value=3.0, negative_slope=0.5, threshold=1.0), [-1.5, -0.5, 3.0]),
        (L.LeakyReLU(), [-0.6, 0.0, 4.0]),
        (L.LeakyReLU(alpha=0.5), [-1.0, 0.0, 4.0]),
        (L.ELU(alpha=2.0), [2.0 * (torch.e**-2 - 1.0), 0.0, 4.0]),
        (L.PReLU("ones"), [-2.0, 0.0, 4.0]),
        (L.Activation("relu"), [0.0, 0.0, 4.0]),
    ],
)
def test_an_activation_of_three_numbers(layer: Any, expected: list[float]):
    torch.testing.assert_close(layer(torch.tensor([[-2.0, 0.0, 4.0]])), torch.tensor([expected]))


def test_softmax_is_zero_where_its_mask_is_false_even_where_that_is_everywhere():
    x, mask = torch.zeros(2, 3), torch.tensor([[True, True, False], [False, False, False]])
    assert L.Softmax()(x, mask=mask).tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    assert L.Softmax()(x.half(), mask=mask.float()).tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]


def test_slopes_of_shared_axes_have_size_one():
    layer = L.PReLU(shared_axes=[1, -2])
    layer.build((None, None, 6, 4))
    assert tuple(layer.alpha.shape) == (1, 1, 4)


@pytest.mark.parametrize("layer", [L.ReLU(), L.ELU(), L.LeakyReLU(), L.PReLU(shared_axes=[1, 2]), L.Activation("tanh")])
def test_activations_pass_masks_on(layer: Any):
    assert layer(L.Masking()(torch.tensor([[[0.0], [1.0]]])))._keras_mask.tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L.ReLU(max_value=-1.0), "max_value of a ReLU layer cannot be a negative value"),
        (lambda: L.ReLU(negative_slope=None), "negative_slope=None"),
        (lambda: L.ReLU(threshold=-0.1), "threshold=-0.1"),
        (lambda: L.LeakyReLU(None), "LeakyReLU\\(negative_slope=None\\)"),
        (lambda: L.ELU("1"), "ELU\\(alpha='1'\\)"),
        (lambda: L.PReLU(shared_axes=[0]), "shared_axes=\\[0\\].*the batch"),
        (lambda: L.PReLU().build((None, None, 3)), "shared_axes=\\[1\\]"),
        (lambda: L.PReLU(shared_axes=3).build((None, 4)), "which has not all axes"),
        (lambda: L.Softmax(axis=[]), "Softmax\\(axis=\\[\\]\\)"),
        (lambda: L.Softmax()(torch.zeros(2, 3), mask=torch.ones(2, 2)), "must be broadcastable"),
        (lambda: L.Activation("rel"), "relu"),
    ],
)
def test_a_wrong_argument_of_an_activation_is_named(make: Any, message: str):
    with pytest.raises(ValueError, match=message):
        make()
