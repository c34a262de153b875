"""Activations against numbers of Keras 3.15.1 at -7, -3, -1, -0.3, 0, 0.3, 1, 3 and 7."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from disttrain import activations

X = torch.tensor([-7.0, -3.0, -1.0, -0.3, 0.0, 0.3, 1.0, 3.0, 7.0])
KERAS: dict[str, list[float]] = {
    "celu": [-0.99909, -0.95021, -0.63212, -0.25918, 0.0, 0.3, 1.0, 3.0, 7.0],
    "elu": [-0.99909, -0.95021, -0.63212, -0.25918, 0.0, 0.3, 1.0, 3.0, 7.0],
    "exponential": [0.00091, 0.04979, 0.36788, 0.74082, 1.0, 1.34986, 2.71828, 20.08554, 1096.63318],
    "gelu": [0.0, -0.00405, -0.15866, -0.11463, 0.0, 0.18537, 0.84134, 2.99595, 7.0],
    "hard_shrink": [-7.0, -3.0, -1.0, 0.0, 0.0, 0.0, 1.0, 3.0, 7.0],
    "hard_sigmoid": [0.0, 0.0, 0.33333, 0.45, 0.5, 0.55, 0.66667, 1.0, 1.0],
    "hard_silu": [0.0, 0.0, -0.33333, -0.135, 0.0, 0.165, 0.66667, 3.0, 7.0],
    "hard_swish": [0.0, 0.0, -0.33333, -0.135, 0.0, 0.165, 0.66667, 3.0, 7.0],
    "hard_tanh": [-1.0, -1.0, -1.0, -0.3, 0.0, 0.3, 1.0, 1.0, 1.0],
    "leaky_relu": [-1.4, -0.6, -0.2, -0.06, 0.0, 0.3, 1.0, 3.0, 7.0],
    "linear": [-7.0, -3.0, -1.0, -0.3, 0.0, 0.3, 1.0, 3.0, 7.0],
    "log_sigmoid": [-7.00091, -3.04859, -1.31326, -0.85436, -0.69315, -0.55436, -0.31326, -0.04859, -0.00091],
    "log_softmax": [-14.02371, -10.02371, -8.02371, -7.32371, -7.02371, -6.72371, -6.02371, -4.02371, -0.02371],
    "mish": [-0.00638, -0.14565, -0.3034, -0.15113, 0.0, 0.208, 0.8651, 2.98654, 6.99999],
    "relu": [0.0, 0.0, 0.0, 0.0, 0.0, 0.3, 1.0, 3.0, 7.0],
    "relu6": [0.0, 0.0, 0.0, 0.0, 0.0, 0.3, 1.0, 3.0, 6.0],
    "selu": [-1.7565, -1.67057, -1.11133, -0.45567, 0.0, 0.31521, 1.0507, 3.1521, 7.35491],
    "sigmoid": [0.00091, 0.04743, 0.26894, 0.42556, 0.5, 0.57444, 0.73106, 0.95257, 0.99909],
    "silu": [-0.00638, -0.14228, -0.26894, -0.12767, 0.0, 0.17233, 0.73106, 2.85772, 6.99362],
    "soft_shrink": [-6.5, -2.5, -0.5, 0.0, 0.0, 0.0, 0.5, 2.5, 6.5],
    "softmax": [0.0, 4e-05, 0.00033, 0.00066, 0.00089, 0.0012, 0.00242, 0.01789, 0.97657],
    "softplus": [0.00091, 0.04859, 0.31326, 0.55436, 0.69315, 0.85436, 1.31326, 3.04859, 7.00091],
    "softsign": [-0.875, -0.75, -0.5, -0.23077, 0.0, 0.23077, 0.5, 0.75, 0.875],
    "sparse_plus": [0.0, 0.0, 0.0, 0.1225, 0.25, 0.4225, 1.0, 3.0, 7.0],
    "sparse_sigmoid": [0.0, 0.0, 0.0, 0.35, 0.5, 0.65, 1.0, 1.0, 1.0],
    "squareplus": [0.14005, 0.30278, 0.61803, 0.86119, 1.0, 1.16119, 1.61803, 3.30278, 7.14005],
    "swish": [-0.00638, -0.14228, -0.26894, -0.12767, 0.0, 0.17233, 0.73106, 2.85772, 6.99362],
    "tanh": [-1.0, -0.99505, -0.76159, -0.29131, 0.0, 0.29131, 0.76159, 0.99505, 1.0],
    "tanh_shrink": [-6.0, -2.00495, -0.23841, -0.00869, 0.0, 0.00869, 0.23841, 2.00495, 6.0],
}


@pytest.mark.parametrize("name", KERAS)
def test_an_activation_gives_the_numbers_of_keras(name: str):
    assert activations.get(name)(X).tolist() == pytest.approx(KERAS[name], abs=1.1e-5, rel=1e-6)


def test_every_name_is_checked_against_keras_but_those_of_more_arguments_and_sparsemax_where_keras_errs():
    assert set(activations.BY_NAME) - set(KERAS) == {"glu", "sparsemax", "threshold"}


def test_relu_with_all_its_arguments():
    y = activations.relu(X, negative_slope=0.1, max_value=2.0, threshold=0.5)
    assert y.tolist() == pytest.approx([-0.75, -0.35, -0.15, -0.08, -0.05, -0.02, 1.0, 2.0, 2.0])


def test_softmax_over_two_axes_sums_to_one():
    assert activations.softmax(torch.rand(2, 3, 4), axis=[1, 2]).sum((1, 2)).tolist() == pytest.approx([1.0, 1.0])


def test_log_softmax_over_two_axes_is_the_logarithm_of_softmax():
    x = torch.rand(2, 3, 4)
    torch.testing.assert_close(activations.log_softmax(x, axis=(1, 2)).exp(), activations.softmax(x, axis=(1, 2)))


def test_the_largest_value_of_relu_holds_for_the_slope_too_and_a_threshold_below_zero_keeps_what_lies_above_it():
    assert activations.relu(X, max_value=-1.0).tolist() == [-1.0] * 9
    assert activations.relu(X, threshold=-2.0, max_value=2.0).tolist() == pytest.approx([0.0, 0.0, -1.0, -0.3, 0.0, 0.3, 1.0, 2.0, 2.0])


def test_glu_and_threshold_by_hand():
    assert activations.glu(torch.tensor([[2.0, 4.0, 0.0, 100.0]])).tolist() == [[1.0, 4.0]]  # times sigmoid(0), sigmoid(100)
    assert activations.glu(torch.tensor([[2.0], [0.0]]), axis=0).tolist() == [[1.0]]
    assert activations.threshold(torch.tensor([0.5, 1.0, 1.5]), 1.0, 7.0).tolist() == [7.0, 7.0, 1.5]


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        ([0.6, 0.5, 0.1], [8 / 15, 13 / 30, 1 / 30]),  # tau = (1.2 - 1) / 3
        ([3.0, 2.5, -1.0], [0.75, 0.25, 0.0]),  # tau = (5.5 - 1) / 2
        ([5.0, 1.0, 1.0], [1.0, 0.0, 0.0]),
        ([2.0, 2.0], [0.5, 0.5]),
        ([7.0], [1.0]),
        ([1e4, 1e4 - 0.5], [0.75, 0.25]),
    ],
)
def test_sparsemax_by_hand(x: list[float], expected: list[float]):
    assert activations.sparsemax(torch.tensor(x)).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_sparsemax_sums_to_one_along_its_axis_and_does_not_depend_on_a_shift(axis: int):
    x = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    y = activations.sparsemax(x, axis)
    torch.testing.assert_close(y.sum(axis), torch.ones_like(y.sum(axis)))
    assert (y >= 0).all() and (y == 0).any()
    torch.testing.assert_close(activations.sparsemax(x + 3.0, axis), y)


OURS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": partial(activations.relu, negative_slope=0.3, max_value=0.8, threshold=0.2),
    "softmax": partial(activations.softmax, axis=(0, 1)),
    "log_softmax": partial(activations.log_softmax, axis=(0, 1)),
    "sparsemax": partial(activations.sparsemax, axis=1),
    "squareplus": activations.squareplus,
    "sparse_plus": activations.sparse_plus,
    "sparse_sigmoid": activations.sparse_sigmoid,
}


@pytest.mark.parametrize("name", OURS)
def test_the_gradient_of_what_is_not_one_kernel_of_torch_is_that_of_the_formula(name: str):
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert torch.autograd.gradcheck(OURS[name], (x,))


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(activations).failed == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", [name for name in activations.BY_NAME if name != "threshold"])
def test_the_output_has_the_dtype_of_the_input(name: str, dtype: torch.dtype):
    assert activations.BY_NAME[name](torch.tensor([[0.3, -1.0]], dtype=dtype)).dtype is dtype


@pytest.mark.parametrize("identifier", ["relu", activations.relu, {"class_name": "function", "config": "relu"}])
def test_an_activation_is_found_by_name_function_and_config(identifier: Any):
    assert activations.get(identifier) is activations.relu


def test_a_config_holds_the_name_of_an_activation_and_the_function_itself_where_it_is_the_user_s():
    def mine(x: Tensor) -> Tensor:
        return 2 * x

    assert (
        activations.serialize(activations.silu) == "silu" and activations.get(activations.serialize(activations.silu)) is activations.silu
    )
    assert activations.serialize(mine) is mine and activations.get(mine) is mine


def test_none_is_linear_and_an_unknown_name_lists_the_nearest_first():
    assert activations.get(None) is activations.linear
    with pytest.raises(ValueError, match=r"activation='rleu': no such activation.\n  expected  one of (relu|elu|celu|selu)"):
        activations.get("rleu")
    with pytest.raises(ValueError, match="a function of a tensor"):
        activations.get(3)
