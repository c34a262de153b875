"""Where Keras 3 puts each layer in a file: the groups of HDF5, and the folders of assets, found by walking the model as it does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from disttrain.identifiers import to_snake_case
from disttrain.layers.layer import Layer
from disttrain.layers.ops.operation import Operation
from disttrain.layers.tracking import adopt, own_weights

_HIDDEN = frozenset(
    {"_backward_hooks", "_buffers", "_chain", "_compile_arguments", "_foreign", "_forward_hooks", "_graph", "_metrics_seen", "_modules"}
    | {"_input_layer", "_nodes", "_parameters", "history", "optimizer"}
)


def weight_groups(model: nn.Module) -> list[tuple[str, nn.Module, list[tuple[str, Tensor]]]]:
    """(path, module, [(key in `state_dict()`, weight)]) of `model` and everything in it, in the order of Keras's walk."""
    keys = {id(tensor): key for key, tensor in model.named_weights()}  # type: ignore[operator]
    return [(path, module, [(keys[id(weight)], weight) for _, weight in own_weights(module)]) for path, module in module_paths(model)]


def name_of(module: nn.Module) -> str:
    """What a layer is called, and a module of torch by its class."""
    return str(getattr(module, "name", type(module).__name__))


def module_paths(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """(path, module) of `model` and everything in it."""
    return list(_walk(model, "", set()))


def _walk(module: nn.Module, path: str, visited: set[int]) -> Iterator[tuple[str, nn.Module]]:
    if id(module) in visited:
        return
    visited.add(id(module))
    adopt(module)
    yield path, module
    for attribute, child in _children(module):
        below = f"{path}/{attribute}" if path else attribute
        if isinstance(child, nn.Module) and not isinstance(child, nn.ModuleList | nn.ModuleDict):
            if not isinstance(child, Operation):
                yield from _walk(child, below, visited)
        else:
            yield from _walk_container(child, below, visited)


def _walk_container(container: Any, path: str, visited: set[int]) -> Iterator[tuple[str, nn.Module]]:
    """The members of a list, tuple or dict, named by class and numbered per class: names made by hand are not used."""
    used: dict[str, int] = {}
    for item in container.values() if isinstance(container, dict | nn.ModuleDict) else container:
        if isinstance(item, Operation):
            continue
        if isinstance(item, nn.Module) and not isinstance(item, nn.ModuleList | nn.ModuleDict):
            yield from _walk(item, f"{path}/{_unique(_class_name(item), used)}", visited)
        elif isinstance(item, list | tuple | dict | nn.ModuleList | nn.ModuleDict):
            yield from _walk_container(item, f"{path}/{_unique('container', used)}", visited)


def _children(module: nn.Module) -> list[tuple[str, Any]]:
    """Attributes that hold modules: Keras's `layers` first where it comes first, then by name, those with `_` last."""
    is_model = isinstance(module, Layer) and hasattr(module, "get_layer")
    first: list[tuple[str, Any]] = []
    found: dict[str, Any] = {}
    if is_model:
        layers = module.layers
        if getattr(module, "_graph", None) is not None or hasattr(module, "_chain"):
            first = [("layers", layers)]
        else:
            found["layers"] = layers
    for name, value in module.__dict__.items():
        if name not in _HIDDEN and isinstance(value, list | tuple | dict) and not name.startswith("__"):
            found[name] = value
    for name, child in module._modules.items():
        if child is not None:
            found.setdefault(name, child)
    return first + sorted(found.items(), key=lambda pair: "~" + pair[0] if pair[0].startswith("_") else pair[0])


def _class_name(module: nn.Module) -> str:
    if getattr(module, "_graph", None) is not None and type(module).__name__ == "Model":
        return "functional"
    return to_snake_case(type(module).__name__)


def _unique(name: str, used: dict[str, int]) -> str:
    number = used.get(name, 0)
    used[name] = number + 1
    return f"{name}_{number}" if number else name
