"""Layers, with the names, arguments, weights and numbers of Keras 3."""

from __future__ import annotations

from disttrain.layers import (
    activation,
    attention,
    convolutional,
    core,
    merging,
    normalization,
    pooling,
    preprocessing,
    recurrent,
    regularization,
    reshaping,
)
from disttrain.layers.activation import *
from disttrain.layers.attention import *
from disttrain.layers.convolutional import *
from disttrain.layers.core import *
from disttrain.layers.layer import Layer
from disttrain.layers.merging import *
from disttrain.layers.naming import clear_session
from disttrain.layers.normalization import *
from disttrain.layers.pooling import *
from disttrain.layers.preprocessing import *
from disttrain.layers.recurrent import *
from disttrain.layers.regularization import *
from disttrain.layers.reshaping import *
from disttrain.layers.tracking import assign_layer_ids

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    **activation.CLASSES,
    **attention.CLASSES,
    **convolutional.CLASSES,
    **core.CLASSES,
    **merging.CLASSES,
    **normalization.CLASSES,
    **pooling.CLASSES,
    **preprocessing.CLASSES,
    **recurrent.CLASSES,
    **regularization.CLASSES,
    **reshaping.CLASSES,
}

__all__ = [
    "CLASSES",
    "Layer",
    "assign_layer_ids",
    "clear_session",
    *activation.__all__,
    *attention.__all__,
    *convolutional.__all__,
    *core.__all__,
    *merging.__all__,
    *normalization.__all__,
    *pooling.__all__,
    *preprocessing.__all__,
    *recurrent.__all__,
    *regularization.__all__,
    *reshaping.__all__,
]
