"""Layers that change training only."""

from __future__ import annotations

from disttrain.layers.layer import Layer
from disttrain.layers.regularization.activity_regularization import ActivityRegularization
from disttrain.layers.regularization.alpha_dropout import AlphaDropout
from disttrain.layers.regularization.dropout import Dropout
from disttrain.layers.regularization.gaussian_dropout import GaussianDropout
from disttrain.layers.regularization.gaussian_noise import GaussianNoise
from disttrain.layers.regularization.spatial_dropout import SpatialDropout1D, SpatialDropout2D, SpatialDropout3D

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    "ActivityRegularization": ActivityRegularization,
    "AlphaDropout": AlphaDropout,
    "Dropout": Dropout,
    "GaussianDropout": GaussianDropout,
    "GaussianNoise": GaussianNoise,
    "SpatialDropout1D": SpatialDropout1D,
    "SpatialDropout2D": SpatialDropout2D,
    "SpatialDropout3D": SpatialDropout3D,
}

__all__ = [
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
]
