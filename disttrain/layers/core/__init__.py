"""Layers that most models have."""

from __future__ import annotations

from disttrain.layers.core.dense import Dense
from disttrain.layers.core.einsum_dense import EinsumDense
from disttrain.layers.core.embedding import Embedding
from disttrain.layers.core.identity import Identity
from disttrain.layers.core.input_layer import Input, InputLayer
from disttrain.layers.core.lambda_layer import Lambda
from disttrain.layers.core.masking import Masking
from disttrain.layers.core.reversible_embedding import ReversibleEmbedding
from disttrain.layers.core.torch_module import TorchModule, as_layer
from disttrain.layers.core.wrapper import Wrapper
from disttrain.layers.input_spec import InputSpec
from disttrain.layers.layer import Layer

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    "Dense": Dense,
    "EinsumDense": EinsumDense,
    "Embedding": Embedding,
    "Identity": Identity,
    "InputLayer": InputLayer,
    "Masking": Masking,
    "ReversibleEmbedding": ReversibleEmbedding,
}

__all__ = [
    "Dense",
    "EinsumDense",
    "Embedding",
    "Identity",
    "Input",
    "InputLayer",
    "InputSpec",
    "Lambda",
    "Masking",
    "ReversibleEmbedding",
    "TorchModule",
    "Wrapper",
    "as_layer",
]
