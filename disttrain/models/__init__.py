"""Models: layers that train together, and the files that hold them."""

from __future__ import annotations

from disttrain.layers import Input
from disttrain.models.clone import clone_model
from disttrain.models.model import Model
from disttrain.models.plot import plot_model
from disttrain.models.saving import load_model, model_from_json, save_model
from disttrain.models.sequential import Sequential
from disttrain.models.transfer import transfer_weights

__all__ = ["Input", "Model", "Sequential", "clone_model", "load_model", "model_from_json", "plot_model", "save_model", "transfer_weights"]
