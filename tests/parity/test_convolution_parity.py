"""Convolutions beside Keras's over sizes, kernels, strides, paddings, dilations, groups and both places of the channels."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from keras_parity import assert_same_layer

FORMATS = st.sampled_from(["channels_last", "channels_first"])


def effective(windows: dict[str, Any]) -> list[int]:
    return [dilation * (kernel - 1) + 1 for kernel, dilation in zip(windows["kernel_size"], windows["dilation_rate"], strict=True)]


@st.composite
def windows(draw: st.DrawFn, rank: int, paddings: tuple[str, ...] = ("valid", "same")) -> dict[str, Any]:
    """kernel_size, strides, padding, dilation_rate and data_format, where strides and dilations are not both more than 1."""

    def several(high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(1, high)) for _ in range(rank))

    strided = draw(st.booleans())
    return {
        "kernel_size": several(4 if rank < 3 else 3),
        "strides": several(4 if rank < 3 else 2) if strided else (1,) * rank,
        "dilation_rate": (1,) * rank if strided else several(3 if rank < 3 else 2),
        "padding": draw(st.sampled_from(paddings)),
        "data_format": draw(FORMATS),
    }


def image(draw: st.DrawFn, arguments: dict[str, Any], channels: int, fits: bool = True) -> np.ndarray:
    """Random numbers, in which a window fits once where it must."""
    least = effective(arguments) if fits and arguments["padding"] == "valid" else [1] * len(arguments["kernel_size"])
    sizes = [draw(st.integers(size, size + 4)) for size in least]
    shape = (2, *sizes, channels) if arguments["data_format"] == "channels_last" else (2, channels, *sizes)
    return np.random.default_rng(draw(st.integers(0, 99))).standard_normal(shape).astype("float32")


def check_conv(data: st.DataObject, rank: int, paddings: tuple[str, ...]) -> None:
    arguments = data.draw(windows(rank, paddings))
    groups, per_group, filters_per_group = (data.draw(st.integers(1, 2)) for _ in range(3))
    inputs = image(data.draw, arguments, groups * per_group)
    assert_same_layer(lambda L: getattr(L, f"Conv{rank}D")(groups * filters_per_group, groups=groups, **arguments), inputs)


@settings(max_examples=25)
@given(st.data())
def test_convolution_over_steps_is_that_of_keras(data: st.DataObject):
    check_conv(data, 1, ("valid", "same", "causal"))


@settings(max_examples=40)
@given(st.data())
def test_convolution_over_images_is_that_of_keras(data: st.DataObject):
    check_conv(data, 2, ("valid", "same"))


@settings(max_examples=20)
@given(st.data())
def test_convolution_over_volumes_is_that_of_keras(data: st.DataObject):
    check_conv(data, 3, ("valid", "same"))


@settings(max_examples=60)
@given(st.integers(1, 3), st.data())
def test_transposed_convolution_crops_and_extends_as_keras_does(rank: int, data: st.DataObject):
    arguments = data.draw(windows(rank))
    if data.draw(st.booleans()):
        arguments["output_padding"] = tuple(data.draw(st.integers(0, stride - 1)) for stride in arguments["strides"])
    inputs = image(data.draw, arguments, 2, fits=False)
    if (
        "output_padding" in arguments and arguments["padding"] == "same"
    ):  # one element under an even kernel: nothing is left, which is refused
        sizes = inputs.shape[1:-1] if arguments["data_format"] == "channels_last" else inputs.shape[2:]
        assume(
            all(
                (size - 1) * stride + kernel % 2 + extra > 0
                for size, stride, kernel, extra in zip(
                    sizes, arguments["strides"], arguments["kernel_size"], arguments["output_padding"], strict=True
                )
            )
        )
    assert_same_layer(lambda L: getattr(L, f"Conv{rank}DTranspose")(2, **arguments), inputs)


@settings(max_examples=30)
@given(st.integers(1, 2), st.integers(1, 3), st.booleans(), st.data())
def test_depthwise_convolution_is_that_of_keras(rank: int, depth_multiplier: int, use_bias: bool, data: st.DataObject):
    arguments = data.draw(windows(rank))
    inputs = image(data.draw, arguments, 2)
    assert_same_layer(
        lambda L: getattr(L, f"DepthwiseConv{rank}D")(depth_multiplier=depth_multiplier, use_bias=use_bias, **arguments), inputs
    )


@settings(max_examples=30)
@given(st.integers(1, 2), st.integers(1, 3), st.data())
def test_separable_convolution_is_that_of_keras(rank: int, depth_multiplier: int, data: st.DataObject):
    arguments = data.draw(windows(rank))
    inputs = image(data.draw, arguments, 2)
    assert_same_layer(lambda L: getattr(L, f"SeparableConv{rank}D")(3, depth_multiplier=depth_multiplier, **arguments), inputs)
