"""Objects as Keras's configs: plain values stay, everything else becomes `{"module", "class_name", "config", "registered_name"}`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain import constraints, initializers, mixed_precision, regularizers
from disttrain.layers import CLASSES as LAYERS
from disttrain.layers.core.lambda_layer import Lambda
from disttrain.layers.dtypes import dtype_name
from disttrain.layers.layer import Layer
from disttrain.layers.ops.operation import Operation
from disttrain.models.file_classes import CLASSES as MODELS
from disttrain.models.saving import registry
from disttrain.models.saving.code import describe_function

_TABLES = (
    (LAYERS, "keras.layers"),
    (initializers.CLASSES, "keras.initializers"),
    (regularizers.CLASSES, "keras.regularizers"),
    (constraints.CLASSES, "keras.constraints"),
)


def serialize_object(value: Any) -> Any:
    """`value` in JSON types: plain values and tuples stay, objects become Keras's `{"module", "class_name", "config", ...}`.

    Raises:
        ValueError: a value that files cannot hold, such as an object without `get_config()`.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {str(key): serialize_object(item) for key, item in value.items()}
    if isinstance(value, list | tuple):  # a tuple stays one, as in Keras; in JSON it is a list
        items = [serialize_object(item) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return value.item()
    if isinstance(value, torch.dtype):
        return dtype_name(value)
    if isinstance(value, slice):
        ends = {"start": value.start, "stop": value.stop, "step": value.step}
        return {"class_name": "__slice__", "config": {key: serialize_object(end) for key, end in ends.items()}}
    if value is Ellipsis:
        return {"class_name": "__ellipsis__", "config": {}}
    if isinstance(value, bytes):
        return {"class_name": "__bytes__", "config": {"value": value.decode("utf-8")}}
    if isinstance(value, Tensor):
        return {"class_name": "__tensor__", "config": {"value": value.detach().cpu().tolist(), "dtype": dtype_name(value.dtype)}}
    if isinstance(value, np.ndarray):
        return {"class_name": "__numpy__", "config": {"value": value.tolist(), "dtype": str(value.dtype)}}
    if hasattr(value, "get_config") and not isinstance(value, type):
        return _serialize_configured(value)
    if callable(value) and not isinstance(value, type):
        return describe_function(value)
    raise ValueError(f"{value!r} cannot be saved: it is code.\n  try  @disttrain.register() on its class or function, then save again")


def _serialize_configured(value: Any) -> dict[str, Any]:
    module, name, registered = address(value)
    config = value.get_config()
    if isinstance(value, Lambda):
        config = {key: describe_function(item, True) if _is_function(item) else item for key, item in config.items()}
    data = {"module": module, "class_name": name, "config": serialize_object(config), "registered_name": registered}
    if isinstance(value, Layer):
        build = value.get_build_config()
        if build is not None:
            data["build_config"] = serialize_object(build)
        if registry.in_session():  # within one file, the same number is the same layer
            data["shared_object_id"] = registry.number_of(value)
    return data


def _is_function(value: Any) -> bool:
    return callable(value) and not hasattr(value, "get_config")


def address(value: Any) -> tuple[str, str, str | None]:
    """(module, class name, registered name) as Keras would write them."""
    cls = type(value)
    name = cls.__name__
    key = registry.key_of(cls)
    if key is not None:
        return cls.__module__, name, key
    if isinstance(value, Operation):
        return value.declared.module, value.kind, value.kind
    for table, module in _TABLES:
        if table.get(name) is cls:
            return module, name, None
    if cls is Lambda:
        return "keras.layers", name, None
    if isinstance(value, mixed_precision.DTypePolicy):
        return "keras", "DTypePolicy", None
    if cls is MODELS["Sequential"]:
        return "keras", "Sequential", None
    if cls is MODELS["Functional"]:
        return "keras.src.models.functional", "Functional", "Functional"
    room = cls.__module__.split(".")
    if room[0] == "disttrain" and len(room) > 1 and room[1] in ("losses", "metrics", "optimizers"):
        kind = "optimizers.schedules" if "schedules" in room else room[1]
        return f"keras.{kind}", name, None
    return cls.__module__, name, name
