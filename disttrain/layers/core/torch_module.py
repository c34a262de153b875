"""A plain `torch.nn.Module` where a layer stands."""

from __future__ import annotations

from typing import Any

from torch import nn

from disttrain.layers.layer import Layer
from disttrain.layers.naming import auto_name


class TorchModule(Layer):
    """Calls `module`, whose train/eval flag follows `training`. Its class is code, so a model with one saves weights only.

    Made by `Sequential` and by calls in functional models; a `Model` subclass needs none, since modules are children there.
    """

    def __init__(self, module: nn.Module, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(name=name or auto_name(type(module).__name__), **kwargs)
        self.module = module
        own = next(module.parameters(), None)
        if own is not None and own.is_floating_point():
            self._compute_dtype = own.dtype
        self.built = True

    def call(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError(
            f"{self.name!r} is a torch module, {type(self.module).__name__}, whose making a file cannot hold.\n"
            "  try  model.save_weights(path), and build the model by its script before load_weights(path)"
        )


def as_layer(value: Any) -> Layer:
    """`value` if it is a layer, a TorchModule around it if it is a module.

    Raises:
        ValueError: neither.
    """
    if isinstance(value, Layer):
        return value
    if isinstance(value, nn.Module):
        return TorchModule(value)
    raise ValueError(f"{value!r}: expected a layer or a torch.nn.Module.\n  try  layers.Lambda({getattr(value, '__name__', 'function')})")
