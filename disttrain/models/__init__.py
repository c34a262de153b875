"""Models: layers that train together, and the files that hold them."""

from __future__ import annotations

from disttrain.layers import Input
from disttrain.models.model import Model
from disttrain.models.saving import load_model
from disttrain.models.sequential import Sequential

__all__ = ["Input", "Model", "Sequential", "load_model"]
