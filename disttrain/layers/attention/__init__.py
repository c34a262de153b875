"""Attention."""

from __future__ import annotations

from disttrain.layers.layer import Layer

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {}

__all__ = []
