"""Layers that move numbers without changing them, add zeros, or put new ones between."""

from __future__ import annotations

from disttrain.layers.layer import Layer
from disttrain.layers.reshaping.cropping import Cropping1D, Cropping2D, Cropping3D
from disttrain.layers.reshaping.flatten import Flatten
from disttrain.layers.reshaping.permute import Permute
from disttrain.layers.reshaping.repeat_vector import RepeatVector
from disttrain.layers.reshaping.reshape import Reshape
from disttrain.layers.reshaping.up_sampling import UpSampling1D, UpSampling2D, UpSampling3D
from disttrain.layers.reshaping.zero_padding import ZeroPadding1D, ZeroPadding2D, ZeroPadding3D

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    "Cropping1D": Cropping1D,
    "Cropping2D": Cropping2D,
    "Cropping3D": Cropping3D,
    "Flatten": Flatten,
    "Permute": Permute,
    "RepeatVector": RepeatVector,
    "Reshape": Reshape,
    "UpSampling1D": UpSampling1D,
    "UpSampling2D": UpSampling2D,
    "UpSampling3D": UpSampling3D,
    "ZeroPadding1D": ZeroPadding1D,
    "ZeroPadding2D": ZeroPadding2D,
    "ZeroPadding3D": ZeroPadding3D,
}

__all__ = [
    "Cropping1D",
    "Cropping2D",
    "Cropping3D",
    "Flatten",
    "Permute",
    "RepeatVector",
    "Reshape",
    "UpSampling1D",
    "UpSampling2D",
    "UpSampling3D",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "ZeroPadding3D",
]
