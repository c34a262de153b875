"""What `x + y` and the like become between symbolic tensors: Keras's operations of the same names."""

from __future__ import annotations

from typing import Any

import torch

from disttrain.layers.layer import Layer
from disttrain.layers.naming import auto_name


class Operation(Layer):
    """A layer made by an operator; files name it `keras.src.ops.numpy`, and it has no group among the weights."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name=name or auto_name(type(self).__name__.removesuffix("Operation")))

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


class AddOperation(Operation):
    """`x1 + x2`."""

    def call(self, x1: Any, x2: Any) -> Any:
        return x1 + x2


class SubtractOperation(Operation):
    """`x1 - x2`."""

    def call(self, x1: Any, x2: Any) -> Any:
        return x1 - x2


class MultiplyOperation(Operation):
    """`x1 * x2`."""

    def call(self, x1: Any, x2: Any) -> Any:
        return x1 * x2


class TrueDivideOperation(Operation):
    """`x1 / x2`."""

    def call(self, x1: Any, x2: Any) -> Any:
        return torch.true_divide(x1, x2) if isinstance(x1, torch.Tensor) else x1 / x2


class NegativeOperation(Operation):
    """`-x`."""

    def call(self, x: Any) -> Any:
        return -x


BY_NAME: dict[str, type[Operation]] = {
    "Add": AddOperation,
    "Multiply": MultiplyOperation,
    "Negative": NegativeOperation,
    "Subtract": SubtractOperation,
    "TrueDivide": TrueDivideOperation,
}
