"""Which weights and layers a layer owns, in Keras's order: own trainable, own non-trainable, then each child in turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

_NOT_CHILDREN = frozenset({"_compile_arguments", "_metrics_seen", "_modules", "_parameters", "_buffers", "history", "optimizer"})


def adopt(module: nn.Module) -> None:
    """Register modules that stand in lists, tuples and dicts of `module`, under the attribute's name and a number.

    Called whenever an attribute is set, and when the layer is built or asked for its weights, so that `self.blocks = []` and later
    appends count.
    """
    if "_modules" not in module.__dict__:
        return
    known: set[int] | None = None
    for attribute, value in list(module.__dict__.items()):
        if attribute in _NOT_CHILDREN or not isinstance(value, list | tuple | dict) or not value:
            continue
        for number, item in enumerate(_modules_in(value)):
            known = {id(child) for child in module._modules.values()} if known is None else known
            if id(item) not in known:
                known.add(id(item))
                module._modules[f"{attribute}_{number}"] = item


def _modules_in(value: Any) -> Iterator[nn.Module]:
    if isinstance(value, nn.Module):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _modules_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _modules_in(item)


def holds_modules(value: Any) -> bool:
    """Is there a module in a list, tuple or dict, at any depth?"""
    return next(_modules_in(value), None) is not None


def own_weights(module: nn.Module) -> list[tuple[str, Tensor]]:
    """(name, tensor) of a module without its children: parameters, then persistent buffers."""
    temporary = module._non_persistent_buffers_set
    parameters = [(name, p) for name, p in module._parameters.items() if p is not None]
    return parameters + [(name, b) for name, b in module._buffers.items() if b is not None and name not in temporary]


def named_weights(module: nn.Module) -> list[tuple[str, Tensor]]:
    """(key in `state_dict()`, tensor) of a module and all below it, in Keras's order; a shared tensor comes once, first key."""
    seen: set[int] = set()
    return list(_walk(module, "", seen))


def _walk(module: nn.Module, prefix: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    if id(module) in seen:
        return
    seen.add(id(module))
    adopt(module)
    for name, tensor in own_weights(module):
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield prefix + name, tensor
    for name, child in module._modules.items():
        if child is not None:
            yield from _walk(child, f"{prefix}{name}.", seen)


def all_modules(module: nn.Module) -> list[nn.Module]:
    """A module and all below it, each once, in the order of `modules()`."""
    adopt(module)
    seen = {id(module)}
    found = [module]
    for child in module._modules.values():
        if child is not None:
            for inner in all_modules(child):
                if id(inner) not in seen:
                    seen.add(id(inner))
                    found.append(inner)
    return found


def assign_layer_ids(model: nn.Module) -> None:
    """Give each layer below `model` its place in `modules()` as `_layer_id`, the name of its random stream."""
    for number, module in enumerate(all_modules(model)):
        if hasattr(type(module), "_layer_id"):
            module._layer_id = number  # type: ignore[assignment]
