"""Which weight of a layer is looked at as filters, and how it is laid out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from disttrain.layers.convolutional.conv import Conv
from disttrain.layers.convolutional.conv_transpose import ConvTranspose
from disttrain.layers.convolutional.depthwise_conv import DepthwiseConv
from disttrain.layers.convolutional.separable_conv import SeparableConv
from disttrain.layers.core.dense import Dense
from disttrain.layers.core.embedding import Embedding
from disttrain.layers.core.wrapper import Wrapper


@dataclass(frozen=True)
class Kernel:
    """A weight to be looked at.

    Args:
        weight: (..., inputs, filters) of a convolution; (inputs, units) of a dense layer; (tokens, features) of an embedding.
        kind: "convolution", "depthwise", "dense" or "embedding".
        message: what is left out.
    """

    weight: Tensor
    kind: str
    message: str | None = None


def kernel_of(layer: Any) -> Kernel | None:
    """The filters of a layer, or of the layer inside a wrapper; None where it has none, or is not built yet."""
    while isinstance(layer, Wrapper):
        layer = layer.layer
    if not layer.built:
        return None
    if isinstance(layer, SeparableConv):
        return Kernel(layer.depthwise_kernel, "depthwise", "These are the depthwise filters; the pointwise ones mix their channels.")
    if isinstance(layer, DepthwiseConv):
        return Kernel(layer.kernel, "depthwise")
    if isinstance(layer, ConvTranspose):  # Keras keeps (..., filters, inputs)
        return Kernel(layer.kernel.transpose(-1, -2), "convolution")
    if isinstance(layer, Conv):
        return Kernel(layer.kernel, "convolution")
    if isinstance(layer, Dense):
        return Kernel(layer.kernel, "dense")
    if isinstance(layer, Embedding):
        return Kernel(layer.embeddings, "embedding")
    return None
