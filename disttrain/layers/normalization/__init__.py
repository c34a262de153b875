"""Normalization."""

from __future__ import annotations

from disttrain.layers.layer import Layer
from disttrain.layers.normalization.batch_normalization import BatchNormalization
from disttrain.layers.normalization.group_normalization import GroupNormalization
from disttrain.layers.normalization.layer_normalization import LayerNormalization
from disttrain.layers.normalization.rms_normalization import RMSNormalization
from disttrain.layers.normalization.spectral_normalization import SpectralNormalization
from disttrain.layers.normalization.unit_normalization import UnitNormalization

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    "BatchNormalization": BatchNormalization,
    "GroupNormalization": GroupNormalization,
    "LayerNormalization": LayerNormalization,
    "RMSNormalization": RMSNormalization,
    "SpectralNormalization": SpectralNormalization,
    "UnitNormalization": UnitNormalization,
}

__all__ = [
    "BatchNormalization",
    "GroupNormalization",
    "LayerNormalization",
    "RMSNormalization",
    "SpectralNormalization",
    "UnitNormalization",
]
