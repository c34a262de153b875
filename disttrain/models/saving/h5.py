"""Weights in HDF5, in the groups where Keras 3 looks for them.

Each layer owns a group; its weights are `<group>/vars/0`, `vars/1`, ... in Keras's order. Each weight also carries its name in
`state_dict()` as the attribute `key`, which Keras does not look at. A file is read as hostile: only plain datasets of the very
shape that the model has.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from disttrain.identifiers import to_snake_case
from disttrain.layers.layer import Layer
from disttrain.layers.ops.operation import Operation
from disttrain.layers.tracking import adopt, own_weights
from disttrain.models.saving.file_seal import check_h5_digest, seal_h5
from disttrain.models.saving.fitting import misfit
from disttrain.models.saving.foreign import refuse_foreign_hdf5
from disttrain.models.saving.optimizer_state import MAX_VARIABLES, optimizer_arrays

MIN_CHUNK = 1 << 20  # numbers; HDF5 may take chunks of some size for a small dataset
_MAX_DEPTH = 64  # of groups in groups
_HIDDEN = frozenset(
    {"_backward_hooks", "_buffers", "_chain", "_compile_arguments", "_foreign", "_forward_hooks", "_graph", "_metrics_seen", "_modules"}
    | {"_input_layer", "_nodes", "_parameters", "history", "optimizer"}
)


def weight_groups(model: nn.Module) -> list[tuple[str, str, list[tuple[str, Tensor]]]]:
    """(path, layer's name, [(key in `state_dict()`, weight)]) of `model` and everything in it, in the order of Keras's walk."""
    keys = {id(tensor): key for key, tensor in model.named_weights()}  # type: ignore[operator]
    visited: set[int] = set()
    groups = []
    for path, module in _walk(model, "", visited):
        weights = [tensor for _, tensor in own_weights(module)]
        groups.append((path, getattr(module, "name", type(module).__name__), [(keys[id(w)], w) for w in weights]))
    return groups


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


# -- writing ----------------------------------------------------------------------------------------------------------------------------


def write_h5(model: nn.Module) -> bytes:
    """The bytes of a `.weights.h5` file, with what the optimizer of a compiled model keeps."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for path, name, weights in weight_groups(model):
            group = file.create_group(f"{path}/vars" if path else "vars")
            group.attrs["name"] = name
            for number, (key, tensor) in enumerate(weights):
                array = tensor.detach().cpu().contiguous()
                if array.dtype is torch.bfloat16:  # NumPy has no such type; Keras, too, stores its two bytes
                    dataset = group.create_dataset(str(number), data=array.view(torch.int16).numpy().view("V2"))
                    dataset.attrs["dtype"] = "bfloat16"
                else:
                    dataset = group.create_dataset(str(number), data=array.numpy())
                dataset.attrs["key"] = key
        for path, name, arrays in optimizer_arrays(model):
            group = file.create_group(f"{path}/vars")
            group.attrs["name"] = name
            for number, array in enumerate(arrays):
                group.create_dataset(str(number), data=array)
        seal_h5(file)
    return buffer.getvalue()


# -- reading ----------------------------------------------------------------------------------------------------------------------------


def check_h5(data: bytes, source: str) -> bool:
    """Is every bit as it was written? False where the file does not say what was, as one of Keras.

    Raises:
        ValueError: it is not.
    """
    with _opened(data, source) as file:
        return check_h5_digest(file, len(data), source)


def read_h5(model: nn.Module, data: bytes, source: str) -> tuple[list[tuple[Tensor, Tensor]], list[str]]:
    """([(weight, value from the file)], [what does not fit]); the model is left alone."""
    found: list[tuple[Tensor, Tensor]] = []
    problems: list[str] = []
    with _opened(data, source) as file:
        _take(file, model, "", found, problems, source)
    return found, problems


def _take(
    file: Any, module: nn.Module, place: str, found: list[tuple[Tensor, Tensor]], problems: list[str], source: str, prefix: str = ""
) -> None:
    """Find the weights of `module`, whose group is at `place`; `prefix` names it in `problems`."""
    for inner, name, weights in weight_groups(module):
        if not weights:
            continue
        path = "/".join(part for part in (place, inner) if part)
        group = _member(file, f"{path}/vars" if path else "vars", source)
        if group is None or not hasattr(group, "keys"):
            problems.append(f"{name}: no group {path!r} in the file")
            continue
        if len(group) != len(weights):
            problems.append(f"{name}: {len(group)} weights in the file, {len(weights)} in the model")
            continue
        for number, (key, tensor) in enumerate(weights):
            dataset = _member(group, str(number), source)
            shape = getattr(dataset, "shape", None)
            if dataset is None or shape is None or tuple(shape) != tuple(tensor.shape):
                problems.append(f"{prefix}{key}: shape {shape} in the file, {tuple(tensor.shape)} in the model")
                continue
            value = _value(dataset, source)
            problem = misfit(tensor, value)
            if problem is None:
                found.append((tensor, value))
            else:
                problems.append(f"{prefix}{key}: {problem}")


def read_h5_by_name(model: nn.Module, data: bytes, source: str) -> tuple[list[tuple[Tensor, Tensor]], list[str]]:
    """Like `read_h5`, of the layers whose names the file has; the others are left out."""
    found: list[tuple[Tensor, Tensor]] = []
    problems: list[str] = []
    with _opened(data, source) as file:
        places: dict[str, list[str]] = {}
        _names_in(file, "", places, source, 0)

        def take(parent: Any) -> None:
            for layer in parent.layers:
                places_of = places.get(layer.name, [])
                if len(places_of) > 1:
                    problems.append(f"{layer.name}: the file has {len(places_of)} layers of that name")
                elif places_of:
                    _take(file, layer, places_of[0], found, problems, source, f"{layer.name}.")
                elif hasattr(layer, "get_layer"):
                    take(layer)

        take(model)
    if not found and not problems:
        known = ", ".join(sorted(places)[:12])
        problems.append(f"no layer of the model is in the file, which has {known}")
    return found, problems


def _names_in(group: Any, path: str, places: dict[str, list[str]], source: str, depth: int) -> None:
    """{name of a layer: the paths of its groups} of everything below `group`."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"{source} nests groups more than {_MAX_DEPTH} deep: no model does.")
    for part in group:
        member = _member(group, part, source)
        if not hasattr(member, "keys") or (not path and part == "optimizer"):
            continue
        if part == "vars":
            name = member.attrs.get("name")
            if isinstance(name, str) and path:
                places.setdefault(name, []).append(path)
        else:
            _names_in(member, f"{path}/{part}" if path else part, places, source, depth + 1)


def read_optimizer(data: bytes, source: str) -> list[Tensor]:
    """What the optimizer kept, in Keras's order; empty where the file holds none.

    Raises:
        ValueError: a damaged or hostile file.
    """
    with _opened(data, source) as file:
        group = _member(file, "optimizer/vars", source)
        if group is None or not hasattr(group, "keys"):
            return []
        if len(group) > MAX_VARIABLES:
            raise ValueError(f"{source}: the optimizer has {len(group)} variables, which no saved model has.")
        values = []
        for number in range(len(group)):
            dataset = _member(group, str(number), source)
            if dataset is None or getattr(dataset, "shape", None) is None:
                raise ValueError(f"{source}: the optimizer's variable {number} is not there.")
            if dataset.nbytes > len(data):
                raise ValueError(f"{source}: the optimizer's variable {number}, of shape {dataset.shape}, is larger than the file.")
            values.append(_value(dataset, source))
        return values


def keyed_weights(data: bytes, source: str) -> dict[str, Tensor] | None:
    """Every weight of a file that this package wrote, by its key in `state_dict()`; None for one of Keras, which has no such keys.

    Raises:
        ValueError: a damaged or hostile file.
    """
    import h5py

    found: dict[str, Tensor] = {}

    def visit(group: Any, depth: int) -> bool:
        if depth > _MAX_DEPTH:
            raise ValueError(f"{source} nests groups more than {_MAX_DEPTH} deep: no model does.")
        for name in group:
            member = _member(group, name, source)
            if isinstance(member, h5py.Dataset):
                key = member.attrs.get("key")
                if not isinstance(key, str) or key in found:
                    return False
                if member.nbytes > len(data):
                    raise ValueError(f"{source}: a weight of shape {member.shape} is larger than the file.")
                found[key] = _value(member, source)
            elif member is not None and not (depth == 0 and name == "optimizer") and not visit(member, depth + 1):
                return False
        return True

    with _opened(data, source) as file:
        return found if visit(file, 0) else None


@contextmanager
def _opened(data: bytes, source: str) -> Iterator[Any]:
    """The open file; whatever HDF5 says of damage inside the block becomes a ValueError."""
    import h5py

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            refuse_foreign_hdf5(file, source)
            yield file
    except (OSError, KeyError, RuntimeError, OverflowError, TypeError, MemoryError) as error:
        raise ValueError(f"{source} holds no sound HDF5: {error}") from error


def _member(group: Any, path: str, source: str) -> Any:
    """The object at `path`, or None. Links out of the file, or anywhere but down, are refused."""
    import h5py

    for part in path.split("/"):
        link = group.get(part, getlink=True) if part in group or _dangling(group, part) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{source}: {part!r} is a link to somewhere else, which no saved model has.")
        group = group[part]
    return group


def _dangling(group: Any, part: str) -> bool:
    return part in group.keys()  # noqa: SIM118 - `in group` follows links, keys() does not


def _value(dataset: Any, source: str) -> Tensor:
    if dataset.is_virtual or dataset.external is not None:
        raise ValueError(f"{source}: {dataset.name} keeps its bytes in another file, which no saved model does.")
    if dataset.attrs.get("dtype") == "bfloat16" and dataset.dtype.itemsize == 2:
        raw = np.ascontiguousarray(dataset[()])
        return torch.from_numpy(raw.reshape(-1).view(np.int16).copy()).view(torch.bfloat16).reshape(dataset.shape)
    if dataset.dtype.kind not in "fiub":
        raise ValueError(f"{source}: {dataset.name} has dtype {dataset.dtype}; weights are numbers.")
    if dataset.chunks is not None and math.prod(dataset.chunks) > max(dataset.size, MIN_CHUNK):
        raise ValueError(f"{source}: {dataset.name} comes in chunks of shape {dataset.chunks}, larger than itself.")
    array = np.asarray(dataset[()])
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))
