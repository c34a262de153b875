"""Any activation function as a layer."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain import activations
from disttrain.layers.activation.pointwise import Pointwise


class Activation(Pointwise):
    """Any activation, by name or as a function of a tensor.

    Raises:
        ValueError: `activation` is no name of an activation and no function.

    Example:
        >>> import torch
        >>> Activation("relu")(torch.tensor([-3.0, 2.0]))
        tensor([0., 2.])
    """

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def call(self, inputs: Tensor) -> Tensor:
        return self.activation(inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activations.serialize(self.activation)}
