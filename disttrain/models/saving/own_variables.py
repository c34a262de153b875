"""What a layer hands over for a file: its weights, or what its own `save_own_variables(store)` puts there, as in Keras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from disttrain.layers.layer import Layer


@dataclass(frozen=True)
class Variable:
    """An array of a file.

    Args:
        name: in the group of its layer.
        value: on the CPU.
        key: the name in `state_dict()` of the weight whose value this is; None for another array.
        beside: the layer has all its weights in the file, and this one on top.
    """

    name: str
    value: Tensor
    key: str | None
    beside: bool = False


def writes_itself(module: nn.Module) -> bool:
    """Does the class say what of it goes into a file?"""
    return isinstance(module, Layer) and type(module).save_own_variables is not Layer.save_own_variables


def reads_itself(module: nn.Module) -> bool:
    """Does the class take what a file has of it?"""
    return isinstance(module, Layer) and type(module).load_own_variables is not Layer.load_own_variables


def variables_of(module: nn.Module, weights: Sequence[tuple[str, Tensor]]) -> list[Variable]:
    """What a file holds of a module without its children, whose weights are `weights`.

    Raises:
        ValueError: its `save_own_variables` gave something that is no array of numbers.
    """
    if not writes_itself(module):
        return [Variable(str(number), tensor.detach().cpu(), key) for number, (key, tensor) in enumerate(weights)]
    store: dict[str, Any] = {}
    module.save_own_variables(store)  # type: ignore[operator]
    values = {name: _tensor(module, name, value) for name, value in store.items()}
    keys = {str(number): key for number, (key, tensor) in enumerate(weights) if _same(values.get(str(number)), tensor)}
    whole = len(keys) == len(weights)
    return [Variable(name, value, keys.get(name), whole and name not in keys) for name, value in values.items()]


def kept_beside(modules: Sequence[nn.Module]) -> list[str]:
    """What layers put into files that is none of their weights, as `layer 'name' (its arrays)`: what only files with room for it hold."""
    found = []
    for module in modules:
        if not writes_itself(module):
            continue
        own = [tensor for tensor in (*module._parameters.values(), *module._buffers.values()) if tensor is not None]
        beside = [one.name for one in variables_of(module, []) if not any(_same(one.value, weight) for weight in own)]
        beside = [name for name in beside if not (name.isdecimal() and int(name) < len(own))]  # a weight in another form
        if beside:
            found.append(f"{type(module).__name__} {module.name!r} ({', '.join(beside)})")
    return found


def _tensor(module: Any, name: Any, value: Any) -> Tensor:
    if not isinstance(name, str) or not name or "/" in name:
        raise ValueError(f"{module._described()}.save_own_variables: the name {name!r} is no string without '/'.")
    array = value if isinstance(value, Tensor) else np.asarray(value)
    if not isinstance(array, Tensor) and array.dtype.kind not in "fiub":
        raise ValueError(
            f"{module._described()}.save_own_variables: {name!r} has dtype {array.dtype}, expected numbers.\n"
            "  try  save_assets(folder) and load_assets(folder) for text and files"
        )
    return torch.as_tensor(array).detach().cpu()


def _same(value: Tensor | None, weight: Tensor) -> bool:
    """Bit for bit, in shape and dtype too."""
    if value is None or value.shape != weight.shape or value.dtype != weight.dtype:
        return False
    one, two = (tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for tensor in (value, weight))
    return torch.equal(one, two)
