"""Convolutions: numbers worked by hand, layouts in memory, shapes that are not known, and refused arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from disttrain import layers as L

RAMP = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1)


def with_kernel(layer: Any, inputs: torch.Tensor, *weights: Any) -> list[float]:
    """The output, in one row, of a layer with these weights."""
    layer.build((None, *inputs.shape[1:]))
    layer.set_weights([np.asarray(value, "float32").reshape(weight.shape) for value, weight in zip(weights, layer.weights, strict=True)])
    return layer(inputs).detach().flatten().tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"kernel_size": 2}, [210, 320, 430]),  # 10 * this + 100 * next
        ({"kernel_size": 2, "padding": "same"}, [210, 320, 430, 40]),  # the odd zero comes after
        ({"kernel_size": 2, "padding": "causal"}, [100, 210, 320, 430]),  # all zeros come before
        ({"kernel_size": 2, "padding": "causal", "dilation_rate": 2}, [100, 200, 310, 420]),
        ({"kernel_size": 2, "strides": 2}, [210, 430]),
        ({"kernel_size": 2, "strides": 3, "padding": "same"}, [210, 40]),
        ({"kernel_size": 2, "dilation_rate": 3}, [410]),
    ],
)
def test_steps_are_weighted_by_the_kernel(arguments: dict[str, Any], expected: list[float]):
    assert with_kernel(L.Conv1D(1, use_bias=False, **arguments), RAMP, [10, 100]) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, [10, 120, 230, 340, 400]),  # each input adds 10 of it here and 100 of it to the next place
        ({"strides": 2}, [10, 100, 20, 200, 30, 300, 40, 400]),
        ({"strides": 3}, [10, 100, 0, 20, 200, 0, 30, 300, 0, 40, 400, 0]),
        ({"padding": "same"}, [10, 120, 230, 340]),  # the last place is cut
        ({"strides": 2, "output_padding": 1}, [10, 100, 20, 200, 30, 300, 40, 400, 0]),
        ({"strides": 2, "padding": "same", "output_padding": 1}, [10, 100, 20, 200, 30, 300, 40]),
        ({"dilation_rate": 2}, [10, 20, 130, 240, 300, 400]),
    ],
)
def test_transposed_convolution_spreads_each_input_over_a_window(arguments: dict[str, Any], expected: list[float]):
    assert with_kernel(L.Conv1DTranspose(1, 2, use_bias=False, **arguments), RAMP, [10, 100]) == expected


def test_the_outputs_of_a_channel_stand_beside_each_other():
    inputs = torch.tensor([[[1.0, 2.0]]])
    kernel = [[[1, 10], [100, 1000]]]  # (window, channels, multiplier)
    assert with_kernel(L.DepthwiseConv1D(1, depth_multiplier=2), inputs, kernel, [0, 0, 0, 0.5]) == [1, 10, 200, 2000.5]


def test_a_separable_convolution_mixes_the_channels_after_the_window():
    inputs = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    depthwise = [[[1], [10]], [[1], [10]]]  # sums of steps: 1 + 3, 10 * (2 + 4)
    assert with_kernel(L.SeparableConv1D(1, 2), inputs, depthwise, [2, 3], [0.5]) == [2 * 4 + 3 * 60 + 0.5]


def test_groups_keep_channels_apart():
    inputs = torch.tensor([[[1.0, 2.0]]])
    assert with_kernel(L.Conv1D(2, 1, groups=2, use_bias=False), inputs, [[[10, 100]]]) == [10, 200]


@pytest.mark.parametrize("make", [lambda: L.Conv2D(4, 3, padding="same"), lambda: L.Conv2D(4, 3), lambda: L.DepthwiseConv2D(3)])
def test_channels_last_moves_nothing_in_memory(make: Any, monkeypatch: pytest.MonkeyPatch):
    seen: list[torch.Tensor] = []
    layer, inputs = make(), torch.randn(2, 8, 7, 3)
    convolve = type(layer)._torch_convolution

    def spy(x: torch.Tensor, kernel: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.extend([x, kernel])
        return convolve(x, kernel, *rest)

    monkeypatch.setattr(type(layer), "_torch_convolution", staticmethod(spy))
    y = layer(inputs)
    assert seen[0].data_ptr() == inputs.data_ptr() and seen[1].data_ptr() == layer.kernel.data_ptr()
    assert y.is_contiguous()


def test_a_batch_and_sizes_that_are_not_known_stay_unknown():
    assert L.Conv1D(4, 3, padding="causal", strides=2).compute_output_shape((None, None, 2)) == (None, None, 4)
    assert L.Conv2D(4, 3).compute_output_shape((None, None, 9, 2)) == (None, None, 7, 4)
    assert L.Conv2D(4, 3, data_format="channels_first").compute_output_shape((5, 2, None, 9)) == (5, 4, None, 7)
    assert L.Conv3DTranspose(4, 2, 2).compute_output_shape((None, None, 3, 4, 2)) == (None, None, 6, 8, 4)
    assert L.DepthwiseConv2D(3, depth_multiplier=2).compute_output_shape((None, None, 9, None)) == (None, None, 7, None)


def test_a_layer_built_for_any_size_takes_images_of_several_sizes():
    layer = L.Conv2D(4, 3, padding="same", strides=2)
    layer.build((None, None, None, 2))
    assert [tuple(layer(torch.zeros(1, size, size + 1, 2)).shape) for size in (2, 5)] == [(1, 1, 2, 4), (1, 3, 3, 4)]


def test_regularizers_and_constraints_are_those_of_their_weight():
    layer = L.SeparableConv2D(2, 1, depthwise_regularizer="l2", pointwise_constraint="non_neg", pointwise_initializer="ones")
    layer.build((None, 3, 3, 1))
    assert [name for name, _ in layer.named_weights()] == ["depthwise_kernel", "pointwise_kernel", "bias"]
    assert layer.losses[0].item() == pytest.approx(0.01 * layer.depthwise_kernel.square().sum().item())
    assert list(layer._constraints) == ["pointwise_kernel"]


def test_keras_names_of_keras_2_are_the_same_classes():
    assert L.Convolution2D is L.Conv2D and L.Convolution3DTranspose is L.Conv3DTranspose
    assert L.SeparableConvolution1D is L.SeparableConv1D


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L.Conv2D(0, 3), r"Conv2D\(filters=0\): expected an integer, 1 or more"),
        (lambda: L.Conv2D(4.0, 3), r"Conv2D\(filters=4.0\): expected an integer"),
        (lambda: L.Conv2D(4, (3, 3, 3)), r"Conv2D\(kernel_size=\(3, 3, 3\)\): expected an integer of 1 or more, or 2 of them"),
        (lambda: L.Conv2D(4, 3, strides=0), r"Conv2D\(strides=0\)"),
        (lambda: L.Conv1D(4, 3, dilation_rate=-1), r"Conv1D\(dilation_rate=-1\)"),
        (lambda: L.Conv1D(4, 3, padding="full"), "expected 'valid', 'same' or 'causal'"),
        (lambda: L.Conv2D(4, 3, data_format="NHWC"), "expected 'channels_last', 'channels_first' or None"),
        (lambda: L.Conv2D(4, 3, groups=3), "groups that divide the filters evenly"),
        (lambda: L.Conv2D(4, 3, groups=2)(torch.zeros(1, 4, 4, 3)), "3 channels of the input cannot be cut into groups=2"),
        (lambda: L.Conv2D(4, 3, lora_rank=2), r"Conv2D\(lora_rank=...\) is not supported"),
        (lambda: L.Conv2D(4, 3, strides=2, dilation_rate=2), "only one of them may be more than 1"),
        (lambda: L.Conv2DTranspose(4, 3, strides=2, output_padding=2), "less than the stride of each axis"),
        (lambda: L.Conv2DTranspose(4, 3, padding="causal"), "expected 'valid' or 'same'"),
        (lambda: L.DepthwiseConv2D(3, depth_multiplier=0), r"DepthwiseConv2D\(depth_multiplier=0\)"),
        (lambda: L.Conv2D(4, 3).build((None, 4, 4, None)), "the number of channels must be known"),
        (lambda: L.Conv2D(4, 3)(torch.zeros(1, 4, 4)), "expected 4 axes, batch, height, width and channels"),
        (lambda: L.Conv3D(4, 3)(torch.zeros(1, 2, 5, 5, 1)), "the window does not fit into an input of shape"),
        (lambda: L.Conv1D(4, 3).compute_output_shape((None, 2, 1)), "the window does not fit"),
        (lambda: built(L.Conv2D(4, 3))(torch.zeros(1, 4, 4, 3)), r"3 channels, expected 2; data_format is 'channels_last'"),
        (lambda: built(L.Conv2D(4, 3))(torch.zeros(4, 4, 2)), "expected 4 axes"),
        (lambda: built(L.Conv2DTranspose(4, 3)).compute_output_shape((None, 4, 4, 3)), "3 channels, expected 2"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make: Any, message: str):
    with pytest.raises(ValueError, match=message):
        make()


def built(layer: Any) -> Any:
    layer.build((None, 4, 4, 2))
    return layer


def test_a_window_of_one_element_that_strides_picks_its_elements_first_which_spares_a_kernel_of_torch_that_breaks_memory(monkeypatch):
    asked = []
    layer = L.Conv2D(8, 1, strides=2)
    convolution = type(layer)._torch_convolution

    def spy(x: torch.Tensor, kernel: torch.Tensor, bias: Any, strides: Any, *others: Any) -> torch.Tensor:
        asked.append(tuple(strides))
        return convolution(x, kernel, bias, strides, *others)

    monkeypatch.setattr(type(layer), "_torch_convolution", staticmethod(spy))
    x = torch.randn(8, 16, 16, 4, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert asked == [(1, 1)]
    assert torch.allclose(y, x[:, ::2, ::2] @ layer.kernel[0, 0] + layer.bias, atol=1e-6)
    assert x.grad is not None and not x.grad[:, 1::2].any()
