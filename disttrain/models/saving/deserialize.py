"""Configs as objects. A class that a config names is looked up in tables or was registered: never imported."""

from __future__ import annotations

import contextlib
import difflib
from typing import Any

import numpy as np
import torch

from disttrain.layers import CLASSES as LAYERS
from disttrain.layers.core.lambda_layer import Lambda
from disttrain.layers.dtypes import DTYPES
from disttrain.layers.inference import infer
from disttrain.layers.layer import Layer
from disttrain.layers.ops.operation import DECLARED
from disttrain.layers.structure import map_shapes
from disttrain.layers.symbolic import SymbolicTensor
from disttrain.models.file_classes import CLASSES as MODELS
from disttrain.models.saving import registry
from disttrain.models.saving.code import make_function

MAX_ARRAY_NUMBERS = 1 << 24  # of one array written in JSON; larger ones belong among the weights


def deserialize_object(data: Any) -> Any:
    """The inverse of `serialize_object` for a layer or model. What a file's `module` says is not believed.

    Raises:
        ValueError: a class that is not known or not registered, or a config that its constructor refuses.
    """
    if not isinstance(data, dict) or not isinstance(data.get("class_name"), str) or not isinstance(data.get("config"), dict):
        raise ValueError(f"{_short(data)}: expected a config with 'class_name' and 'config', as a saved model has for each layer.")
    shared, read = data.get("shared_object_id"), registry.session().read
    if isinstance(shared, int) and shared in read:
        return read[shared]
    cls, is_model = _find_class(data)
    config = dict(data["config"]) if is_model else {key: plain(item) for key, item in data["config"].items()}
    try:
        layer = cls.from_config(config)
    except TypeError as error:
        raise ValueError(f"{data['class_name']} cannot be made from its config: {error}") from error
    if not isinstance(layer, Layer):
        raise ValueError(f"{data['class_name']}: expected a layer, got {type(layer).__name__}.")
    build = data.get("build_config")
    if not layer.built and isinstance(build, dict) and any(shape is not None for shape in build.values()):
        layer.build_from_config(build)
        _build_inside(layer, build)
    if isinstance(shared, int):
        read[shared] = layer
    return layer


def _build_inside(layer: Layer, build: dict[str, Any]) -> None:
    """Where `build` made layers and left them to be built by the first call: make that call, since their weights are in the file."""
    if not layer.built or all(inner.built for inner in layer.modules() if isinstance(inner, Layer)):
        return
    shapes = build.get("shapes_dict", {next(iter(layer._signature.call_names), "inputs"): build.get("input_shape")})
    inputs = {
        name.removesuffix("_shape"): map_shapes(lambda shape: SymbolicTensor(shape, layer.dtype), shape)
        for name, shape in shapes.items()
        if shape is not None
    }
    with contextlib.suppress(ValueError):  # whoever reads the weights says which layer has none
        infer(layer, (), inputs, layer._described())


def _find_class(data: dict[str, Any]) -> tuple[Any, bool]:
    """(class, is its config that of layers with their calls, which `from_config` makes itself)."""
    name, registered = data["class_name"], data.get("registered_name")
    nested = {"layers", "input_layers", "output_layers"} <= set(data["config"]) or name == "Sequential"
    found = registry.find(registered, name)
    if found is not None:
        return found, nested
    if name in ("Functional", "Model") and nested:
        return MODELS["Functional"], True
    if name == "Sequential":
        return MODELS["Sequential"], True
    if str(data.get("module", "")).startswith("keras.src.ops"):
        if name in DECLARED:
            return DECLARED[name], False
        nearest = difflib.get_close_matches(name, DECLARED, n=6, cutoff=0.0)
        raise ValueError(
            f"the file uses the operation {name!r} of keras.ops, which is not known here.\n  expected  one of {', '.join(nearest)}, ..."
        )
    if name == "Lambda":
        return Lambda, False
    if name in LAYERS and (registered is None or ">" not in str(registered)):
        return LAYERS[name], False
    valid = [*LAYERS, "Functional", "Sequential", *registry.known_names()]
    nearest = difflib.get_close_matches(name, valid, n=8, cutoff=0.0)
    module = data.get("module")
    where = f" It was in the module {module!r}." if isinstance(module, str) and not module.startswith("keras") else ""
    raise ValueError(
        f"the file names the class {registered or name!r}, which is not known here.{where}\n"
        f"  expected  one of {', '.join(nearest)}, ...\n"
        "  try  @disttrain.register(package=...) on the class, or load_model(path, custom_objects={name: class})"
    )


def plain(value: Any) -> Any:
    """A value of a config: arrays, slices, nested layers, registered objects and functions are made; the rest stays as it is.

    Raises:
        ValueError: an array of another dtype or beyond measure, code in safe mode, a layer that is not known.
    """
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    name, config, registered = value.get("class_name"), value.get("config"), value.get("registered_name")
    if name == "__lambda__":
        return make_function(config)
    if not isinstance(name, str) or "config" not in value:
        return {key: plain(item) for key, item in value.items()}
    if name in _SPECIAL:
        return _SPECIAL[name](config if isinstance(config, dict) else {})
    if name == "function":
        thing = registry.find(config)
        return value if thing is None else thing  # a constructor knows its own, such as activations
    thing = registry.find(registered, name)
    if thing is not None and isinstance(config, dict):
        if isinstance(thing, type) and issubclass(thing, Layer):
            return deserialize_object(value)
        return thing.from_config({key: plain(item) for key, item in config.items()}) if hasattr(thing, "from_config") else thing
    if str(value.get("module", "")).startswith(_LAYER_MODULES) and isinstance(config, dict):
        return deserialize_object(value)
    return value  # an initializer, a regularizer, a dtype: the constructor finds it in its own table


_LAYER_MODULES = ("keras.layers", "keras.src.layers", "keras.src.models", "keras.src.ops")


def _array(config: dict[str, Any]) -> torch.Tensor:
    dtype = str(config.get("dtype"))
    if dtype not in DTYPES:
        raise ValueError(f"the file holds an array of dtype {dtype!r}: expected one of {', '.join(DTYPES)}.")
    try:
        array = np.asarray(config.get("value"))
    except ValueError as error:
        raise ValueError(f"the file holds an array that is none: {error}") from error
    if array.size > MAX_ARRAY_NUMBERS or array.dtype.kind not in "fiub":
        raise ValueError(f"the file holds an array of shape {array.shape} and dtype {array.dtype}, expected numbers, not too many.")
    return torch.as_tensor(array).to(DTYPES[dtype])


def _slice(config: dict[str, Any]) -> slice:
    ends = [plain(config.get(key)) for key in ("start", "stop", "step")]
    if not all(end is None or isinstance(end, int) for end in ends):
        raise ValueError(f"the file holds a slice with ends {ends}, expected integers.")
    return slice(*ends)


_SPECIAL = {
    "__bytes__": lambda config: str(config.get("value", "")).encode(),
    "__ellipsis__": lambda config: Ellipsis,
    "__numpy__": lambda config: _array(config).numpy(),
    "__slice__": _slice,
    "__tensor__": _array,
}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:120] + "..."
