"""Convolution."""

from __future__ import annotations

from disttrain.layers.convolutional.conv import Conv1D, Conv2D, Conv3D
from disttrain.layers.convolutional.conv_transpose import Conv1DTranspose, Conv2DTranspose, Conv3DTranspose
from disttrain.layers.convolutional.depthwise_conv import DepthwiseConv1D, DepthwiseConv2D
from disttrain.layers.convolutional.separable_conv import SeparableConv1D, SeparableConv2D
from disttrain.layers.layer import Layer

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    "Conv1D": Conv1D,
    "Conv1DTranspose": Conv1DTranspose,
    "Conv2D": Conv2D,
    "Conv2DTranspose": Conv2DTranspose,
    "Conv3D": Conv3D,
    "Conv3DTranspose": Conv3DTranspose,
    "DepthwiseConv1D": DepthwiseConv1D,
    "DepthwiseConv2D": DepthwiseConv2D,
    "SeparableConv1D": SeparableConv1D,
    "SeparableConv2D": SeparableConv2D,
}

# Keras's other names.
Convolution1D = Conv1D
Convolution1DTranspose = Conv1DTranspose
Convolution2D = Conv2D
Convolution2DTranspose = Conv2DTranspose
Convolution3D = Conv3D
Convolution3DTranspose = Conv3DTranspose
SeparableConvolution1D = SeparableConv1D
SeparableConvolution2D = SeparableConv2D

__all__ = [
    "Conv1D",
    "Conv1DTranspose",
    "Conv2D",
    "Conv2DTranspose",
    "Conv3D",
    "Conv3DTranspose",
    "Convolution1D",
    "Convolution1DTranspose",
    "Convolution2D",
    "Convolution2DTranspose",
    "Convolution3D",
    "Convolution3DTranspose",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "SeparableConv1D",
    "SeparableConv2D",
    "SeparableConvolution1D",
    "SeparableConvolution2D",
]
