"""Whole models, and weights, in one HDF5 file as Keras 2 laid it out and Keras 3 still does: `.h5`, `.hdf5`.

What the model is stands in attributes of the root, as JSON; each layer directly in it has a group, whose attribute `weight_names` lists
its weights in order, those that are trained first. Layers are matched by their order, those without weights left out.
"""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.models.saving.file_seal import check_h5_digest, seal_h5
from disttrain.models.saving.fitting import Found
from disttrain.models.saving.h5_reading import member_at, opened_h5, value_of
from disttrain.models.saving.keras2_config import modern
from disttrain.models.saving.optimizer_state import MAX_VARIABLES, optimizer_arrays

_HDF5 = b"\x89HDF\r\n\x1a\n"
_TOP = "top_level_model_weights"
_MAX_NAMES_BYTES = 64_000  # of one attribute; more come in several
_MAX_CONFIG_BYTES = 64 << 20


def is_legacy(data: bytes, source: str) -> bool:
    """Is it HDF5 in this layout?"""
    if not data.startswith(_HDF5):
        return False
    with opened_h5(data, source, legacy=True) as file:
        return "model_weights" in file or "model_config" in file.attrs or bool(_names(file, "layer_names"))


# -- reading ----------------------------------------------------------------------------------------------------------------------------


def read_configs(data: bytes, source: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """(the config of the model, that of its compiling in the arguments of `compile`, or None).

    Raises:
        ValueError: the file holds weights alone, or is damaged.
    """
    with opened_h5(data, source, legacy=True) as file:
        config = _json(file.attrs.get("model_config"), source)
        training = _json(file.attrs.get("training_config"), source)
    if config is None:
        raise ValueError(f"{source} holds weights alone.\n  try  model.load_weights() with the model that they belong to")
    if training is not None:
        known = ("loss", "metrics", "weighted_metrics", "loss_weights")
        training = {"optimizer": training.get("optimizer_config"), **{name: training.get(name) for name in known}}
    made = modern(config)
    return made, modern(training)


def read_legacy(model: Any, data: bytes, source: str, by_name: bool = False) -> Found:
    """What the file has for a model; with `by_name`, of the layers whose names it has."""
    found = Found()
    with opened_h5(data, source, legacy=True) as file:
        group = member_at(file, "model_weights", source)
        group = file if group is None else group
        saved = [(name, _values(group, name, len(data), source)) for name in _names(group, "layer_names")]
        top = _values(group, _TOP, len(data), source) if _TOP in group.keys() else []  # noqa: SIM118 - see `h5_reading`
    layers = [(layer, in_order(layer)) for layer in model.layers]
    if by_name:
        index = dict(saved)
        pairs = [(layer.name, weights, index[layer.name]) for layer, weights in layers if layer.name in index]
        if not pairs:
            found.problems.append(f"no layer of the model is in the file, which has {', '.join(list(index)[:12])}")
    else:
        here, there = [pair for pair in layers if pair[1]], [pair for pair in saved if pair[1]]
        if len(here) != len(there):
            names = [name for name, _ in there], [layer.name for layer, _ in here]
            found.problems.append(
                f"{len(there)} layers with weights in the file, {len(here)} in the model: {', '.join(names[0])}; {', '.join(names[1])}"
            )
        pairs = [(layer.name, weights, values) for (layer, weights), (_, values) in zip(here, there, strict=False)]
        pairs.append((model.name, _own(model), top))
    for name, weights, values in pairs:
        if len(weights) != len(values):
            found.problems.append(f"{name}: {len(values)} weights in the file, {len(weights)} in the model")
            continue
        for number, (weight, value) in enumerate(zip(weights, values, strict=True)):
            found.take(f"{name}, weight {number}", weight, value)
    return found


def read_legacy_optimizer(data: bytes, source: str) -> list[Tensor]:
    """What the optimizer kept, in Keras's order; empty where the file holds none."""
    with opened_h5(data, source, legacy=True) as file:
        return _values(file, "optimizer_weights", len(data), source)


def check_legacy(data: bytes, source: str) -> bool:
    """Is every bit as it was written? False where the file does not say what was, as one of Keras."""
    with opened_h5(data, source, legacy=True) as file:
        return check_h5_digest(file, len(data), source)


def in_order(layer: Any) -> list[Tensor]:
    """The weights of a layer and all in it as this layout has them: those that are trained first."""
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def _own(model: Any) -> list[Tensor]:
    """The weights of a model that no layer in it has."""
    inner = {id(weight) for layer in model.layers for weight in layer.weights}
    return [weight for weight in in_order(model) if id(weight) not in inner]


def _values(group: Any, name: str, size: int, source: str) -> list[Tensor]:
    """The arrays of a layer's group, in the order of its `weight_names`."""
    inner = member_at(group, name, source)
    if not hasattr(inner, "keys"):
        return []
    names = _names(inner, "weight_names")
    if len(names) > MAX_VARIABLES:
        raise ValueError(f"{source}: {name} has {len(names)} arrays, which no saved model has.")
    values = []
    for weight in names:
        dataset = member_at(inner, weight, source)
        if getattr(dataset, "shape", None) is None:
            raise ValueError(f"{source}: {name} lists {weight!r}, which is not there.")
        if dataset.nbytes > size:
            raise ValueError(f"{source}: {dataset.name}, of shape {dataset.shape}, is larger than the file.")
        values.append(value_of(dataset, source))
    return values


def _names(group: Any, attribute: str) -> list[str]:
    """A list of names, which stands in several attributes where it is long."""
    parts = [group.attrs[attribute]] if attribute in group.attrs else []
    while attribute not in group.attrs and f"{attribute}{len(parts)}" in group.attrs:
        parts.append(group.attrs[f"{attribute}{len(parts)}"])
    return [name.decode() if isinstance(name, bytes) else str(name) for part in parts for name in part]


def _json(text: Any, source: str) -> dict[str, Any] | None:
    if text is None:
        return None
    if not isinstance(text, bytes | str) or len(text) > _MAX_CONFIG_BYTES:
        raise ValueError(f"{source}: its config is no text, or too long.")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{source}: its config is damaged: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{source}: its config is not that of a model.")
    return found


# -- writing ----------------------------------------------------------------------------------------------------------------------------


def write_legacy(model: Any, config: dict[str, Any], keras_version: str, optimizer: bool = True) -> bytes:
    """The bytes of a whole model.

    Args:
        config: of the model, and of its compiling, as a `.keras` file has it.

    Raises:
        ValueError: its config is too large for this format.
    """
    import h5py

    attributes = {"keras_version": keras_version, "backend": "torch", "model_config": json.dumps(_without_compiling(config))}
    compiling = config.get("compile_config")
    if compiling and compiling.get("optimizer") is not None and optimizer:
        training = {name: compiling.get(name) for name in ("loss", "metrics", "weighted_metrics", "loss_weights")}
        attributes["training_config"] = json.dumps({**training, "optimizer_config": compiling.get("optimizer")})
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        try:
            for name, text in attributes.items():
                file.attrs[name] = text.encode() if name.endswith("config") else text
        except (OSError, RuntimeError) as error:
            raise ValueError(f"{model._described()} is too large to be described in HDF5: {error}\n  try  model.save('m.keras')") from error
        group = file.create_group("model_weights")
        group.attrs["keras_version"], group.attrs["backend"] = keras_version.encode(), b"torch"
        _put_names(group, "layer_names", [layer.name for layer in model.layers])
        for layer in sorted(model.layers, key=lambda layer: layer.name):
            _put(group.create_group(layer.name), in_order(layer))
        _put(group.create_group(_TOP), _own(model))
        for path, _, arrays in optimizer_arrays(model) if optimizer else []:
            if path == "optimizer":
                _put(file.create_group("optimizer_weights"), [torch.from_numpy(np.asarray(array)) for array in arrays])
        seal_h5(file)
    return buffer.getvalue()


def _without_compiling(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "compile_config"}


def _put(group: Any, weights: list[Tensor]) -> None:
    names = [f"weight_{number}" for number in range(len(weights))]
    _put_names(group, "weight_names", names)
    for name, weight in zip(names, weights, strict=True):
        if weight.dtype is torch.bfloat16:
            raise ValueError("this layout of HDF5 has no bfloat16.\n  try  model.save('m.keras')")
        group.create_dataset(name, data=weight.detach().cpu().contiguous().numpy())


def _put_names(group: Any, attribute: str, names: list[str]) -> None:
    """As one attribute, or several where HDF5 has no room for one."""
    texts = [name.encode() for name in names]
    per_part = max(1, _MAX_NAMES_BYTES // max((len(text) for text in texts), default=1))
    parts = [texts[start : start + per_part] for start in range(0, len(texts), per_part)]
    if len(parts) <= 1:
        group.attrs[attribute] = np.array(texts) if texts else np.array([], dtype="S1")
        return
    for number, part in enumerate(parts):
        group.attrs[f"{attribute}{number}"] = np.array(part)
