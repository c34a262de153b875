"""A plain `torch.nn.Module` where a layer stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from disttrain.layers.layer import Layer
from disttrain.layers.naming import auto_name
from disttrain.layers.structure import flatten
from disttrain.layers.torch_calls import call_module


class TorchModule(Layer):
    """Calls `module`, whose train/eval flag follows `training`. Its class is code, so a model with one saves weights only.

    Made by `Sequential` and by calls in functional models; a `Model` subclass needs none, since modules are children there.

    A dict of the module's arguments is given by name, as in `module(**batch)`. Of a module that returns a dict, as those of the hub do,
    `loss` is added to the loss of the model, and what is no tensor, such as a cache of keys, is left out.

    Attributes:
        gave_loss: has the module returned a loss of its own?

    Raises:
        NotImplementedError: the model is to go into a file, which cannot hold how a torch module is made.
    """

    gave_loss = False

    def __init__(self, module: nn.Module, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(name=name or auto_name(type(module).__name__), **kwargs)
        self.module = module
        own = next(module.parameters(), None)
        if own is not None and own.is_floating_point():
            self._compute_dtype = own.dtype
        self.built = True

    def call(self, *args: Any, **kwargs: Any) -> Any:
        simple = len(args) == 1 and not kwargs and type(args[0]) is Tensor  # nearly always
        outputs = self.module(args[0]) if simple else call_module(self.module, args, kwargs)
        return self._without_loss(outputs) if type(outputs) is not Tensor and isinstance(outputs, Mapping) else outputs

    def _without_loss(self, outputs: Mapping[Any, Any]) -> Any:
        loss = outputs.get("loss")
        mine = isinstance(loss, Tensor) and loss.ndim == 0 and loss.is_floating_point()
        self.__dict__["gave_loss"] = mine
        if mine:
            self.add_loss(loss)
        kept = {key: value for key, value in outputs.items() if not (mine and key == "loss")}
        kept = {key: value for key, value in kept.items() if all(isinstance(leaf, Tensor) for leaf in flatten(value))}
        return outputs if len(kept) == len(outputs) else kept

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
    raise ValueError(
        f"{value!r}: expected a layer or a torch.nn.Module. Only instances of those can be added.\n"
        f"  try  layers.Lambda({getattr(value, '__name__', 'function')})"
    )
