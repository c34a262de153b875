"""Weights in HDF5, in the groups where Keras 3 looks for them.

Each layer owns a group; its weights are `<group>/vars/0`, `vars/1`, ... in Keras's order. Each weight also carries its name in
`state_dict()` as the attribute `key`, which Keras does not look at.
"""

from __future__ import annotations

import io
from typing import Any

from torch import Tensor, nn

from disttrain.host_numbers import LACKED, plain
from disttrain.models.saving.file_seal import check_h5_digest, seal_h5
from disttrain.models.saving.fitting import Found
from disttrain.models.saving.h5_paths import name_of, weight_groups
from disttrain.models.saving.h5_reading import member_at, opened_h5, value_of
from disttrain.models.saving.left_over import left_over
from disttrain.models.saving.optimizer_state import MAX_VARIABLES, optimizer_arrays
from disttrain.models.saving.own_variables import reads_itself, variables_of, writes_itself

_MAX_DEPTH = 64  # of groups in groups


# -- writing ----------------------------------------------------------------------------------------------------------------------------


def write_h5(model: nn.Module, optimizer: bool = True) -> bytes:
    """The bytes of a `.weights.h5` file, with what the optimizer of a compiled model keeps, unless that is not wanted."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for path, module, weights in weight_groups(model):
            group = file.create_group(f"{path}/vars" if path else "vars")
            group.attrs["name"] = name_of(module)
            for variable in variables_of(module, weights):
                array = variable.value.contiguous()
                if array.dtype in LACKED:  # NumPy has no such type; Keras, too, stores the two bytes of a bfloat16
                    dataset = group.create_dataset(variable.name, data=plain(array).view(f"V{array.itemsize}"))
                    dataset.attrs["dtype"] = str(array.dtype).removeprefix("torch.")
                else:
                    dataset = group.create_dataset(variable.name, data=plain(array))
                if variable.key is not None:
                    dataset.attrs["key"] = variable.key
                if variable.beside:
                    dataset.attrs["beside"] = True
        for path, name, arrays in optimizer_arrays(model) if optimizer else []:
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
    with opened_h5(data, source) as file:
        return check_h5_digest(file, len(data), source)


def read_h5(model: nn.Module, data: bytes, source: str) -> Found:
    """What the file has for a model, each weight of the one held against each of the other; the model is left alone."""
    found = Found()
    with opened_h5(data, source) as file:
        read = _take(file, len(data), model, "", found, source)
        found.problems += left_over(file, model, read)
    return found


def _take(file: Any, size: int, module: nn.Module, place: str, found: Found, source: str, prefix: str = "") -> set[str]:
    """Find what `module` and all in it need, whose group is at `place`; gives the groups looked at.

    Args:
        size: of the file, in bytes.
        prefix: names the module in problems.
    """
    read = set()
    for inner, owner, weights in weight_groups(module):
        path = "/".join(part for part in (place, inner) if part)
        read.add(f"{path}/vars" if path else "vars")
        group = member_at(file, f"{path}/vars" if path else "vars", source)
        group = group if hasattr(group, "keys") else None
        if group is None and (weights or writes_itself(owner)):
            found.problems.append(f"{name_of(owner)}: no group {path!r} in the file")
        elif group is not None and reads_itself(owner):
            found.own.append((owner, _all_values(group, size, source)))
        elif group is not None and len(group) != len(weights):
            found.problems.append(f"{name_of(owner)}: {_counted(owner, len(group), len(weights))}")
        elif group is not None:
            for number, (key, tensor) in enumerate(weights):
                dataset = member_at(group, str(number), source)
                shape = getattr(dataset, "shape", None)
                if shape is None or tuple(shape) != tuple(tensor.shape):
                    found.problems.append(f"{prefix}{key}: shape {shape} in the file, {tuple(tensor.shape)} in the model")
                else:
                    found.take(f"{prefix}{key}", tensor, value_of(dataset, source))
    return read


def _counted(module: nn.Module, there: int, here: int) -> str:
    if getattr(module, "built", True):
        return f"{there} weights in the file, {here} in the model"
    return (
        f"{there} weights in the file, while it was never built, so that it has none: a build() must build the layers that it makes, "
        "or build_from_config() must"
    )


def _all_values(group: Any, size: int, source: str) -> dict[str, Any]:
    """Every array of a group, by name, as `load_own_variables` takes them."""
    found: dict[str, Any] = {}
    for name in group:
        dataset = member_at(group, name, source)
        if getattr(dataset, "shape", None) is None:
            continue
        if dataset.nbytes > size:
            raise ValueError(f"{source}: {dataset.name}, of shape {dataset.shape}, is larger than the file.")
        value = value_of(dataset, source)
        found[name] = value if value.dtype in LACKED else value.numpy()
    return found


def read_h5_by_name(model: nn.Module, data: bytes, source: str) -> Found:
    """Like `read_h5`, of the layers whose names the file has; the others are left out."""
    found = Found()
    with opened_h5(data, source) as file:
        places: dict[str, list[str]] = {}
        _names_in(file, "", places, source, 0)

        def take(parent: Any) -> None:
            for layer in parent.layers:
                places_of = places.get(layer.name, [])
                if len(places_of) > 1:
                    found.problems.append(f"{layer.name}: the file has {len(places_of)} layers of that name")
                elif places_of:
                    _take(file, len(data), layer, places_of[0], found, source, f"{layer.name}.")
                elif hasattr(layer, "get_layer"):
                    take(layer)

        take(model)
    if found == Found():
        known = ", ".join(sorted(places)[:12])
        found.problems.append(f"no layer of the model is in the file, which has {known}")
    return found


def _names_in(group: Any, path: str, places: dict[str, list[str]], source: str, depth: int) -> None:
    """{name of a layer: the paths of its groups} of everything below `group`."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"{source} nests groups more than {_MAX_DEPTH} deep: no model does.")
    for part in group:
        member = member_at(group, part, source)
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
    with opened_h5(data, source) as file:
        group = member_at(file, "optimizer/vars", source)
        if group is None or not hasattr(group, "keys"):
            return []
        if len(group) > MAX_VARIABLES:
            raise ValueError(f"{source}: the optimizer has {len(group)} variables, which no saved model has.")
        values = []
        for number in range(len(group)):
            dataset = member_at(group, str(number), source)
            if dataset is None or getattr(dataset, "shape", None) is None:
                raise ValueError(f"{source}: the optimizer's variable {number} is not there.")
            if dataset.nbytes > len(data):
                raise ValueError(f"{source}: the optimizer's variable {number}, of shape {dataset.shape}, is larger than the file.")
            values.append(value_of(dataset, source))
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
            member = member_at(group, name, source)
            if isinstance(member, h5py.Dataset):
                if member.attrs.get("beside"):
                    continue
                key = member.attrs.get("key")
                if not isinstance(key, str) or key in found:
                    return False
                if member.nbytes > len(data):
                    raise ValueError(f"{source}: a weight of shape {member.shape} is larger than the file.")
                found[key] = value_of(member, source)
            elif member is not None and not (depth == 0 and name == "optimizer") and not visit(member, depth + 1):
                return False
        return True

    with opened_h5(data, source) as file:
        return found if visit(file, 0) else None
