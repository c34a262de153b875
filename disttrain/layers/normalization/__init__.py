"""Normalization."""

from __future__ import annotations

from disttrain.layers.layer import Layer
from disttrain.layers.normalization.batch_normalization import BatchNormalization
from disttrain.layers.normalization.layer_normalization import LayerNormalization

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    "BatchNormalization": BatchNormalization,
    "LayerNormalization": LayerNormalization,
}

__all__ = ["BatchNormalization", "LayerNormalization"]
