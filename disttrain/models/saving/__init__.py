"""Files that hold models: `.keras`, which Keras 3 opens too, `.weights.h5` and `.safetensors`; and models of runs. Nothing is pickled."""

from __future__ import annotations

from disttrain.models.saving.deserialize import deserialize_object
from disttrain.models.saving.file_digest import file_digest
from disttrain.models.saving.keras_file import model_from_json, save_model, to_json
from disttrain.models.saving.loading import load_model, load_weights
from disttrain.models.saving.registry import custom_objects, register
from disttrain.models.saving.serialize import serialize_object
from disttrain.models.saving.weights import save_weights

__all__ = [
    "custom_objects",
    "deserialize_object",
    "file_digest",
    "load_model",
    "load_weights",
    "model_from_json",
    "register",
    "save_model",
    "save_weights",
    "serialize_object",
    "to_json",
]
