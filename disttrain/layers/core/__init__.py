"""Layers that most models have."""

from __future__ import annotations

from disttrain.layers.core.dense import Dense
from disttrain.layers.core.embedding import Embedding
from disttrain.layers.core.input_layer import Input, InputLayer
from disttrain.layers.core.lambda_layer import Lambda
from disttrain.layers.core.torch_module import TorchModule, as_layer
from disttrain.layers.layer import Layer

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    "Dense": Dense,
    "Embedding": Embedding,
    "InputLayer": InputLayer,
}

__all__ = ["Dense", "Embedding", "Input", "InputLayer", "Lambda", "TorchModule", "as_layer"]
