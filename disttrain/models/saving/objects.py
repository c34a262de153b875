"""Objects as Keras's configs, and back. A class that a config names is looked up in tables or was registered: never imported."""

from __future__ import annotations

import contextvars
import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from disttrain import initializers, regularizers
from disttrain.layers import CLASSES as LAYERS
from disttrain.layers import arithmetic
from disttrain.layers.dtypes import DTYPES, dtype_name
from disttrain.layers.layer import Layer

T = TypeVar("T")

_registered: dict[str, Any] = {}


@dataclass
class _Session:
    """What one save or load knows: custom classes, and objects that occur more than once."""

    custom: dict[str, Any] = field(default_factory=dict)
    written: dict[int, int] = field(default_factory=dict)
    read: dict[int, Any] = field(default_factory=dict)


_session: contextvars.ContextVar[_Session | None] = contextvars.ContextVar("saving_session", default=None)


def register(package: str = "Custom", name: str | None = None) -> Callable[[T], T]:
    """Decorator: lets files name this class, or function, as `package>name`; loading one then finds it.

    Example:
        >>> @register("my_project")
        ... class Doubled(Layer):
        ...     def call(self, inputs):
        ...         return 2 * inputs
    """

    def decorate(thing: T) -> T:
        key = f"{package}>{name or thing.__name__}"  # type: ignore[attr-defined]
        if isinstance(thing, type) and not hasattr(thing, "get_config"):
            raise ValueError(f"register: {key} has no get_config(), so a file could not hold it.")
        _registered[key] = thing
        return thing

    return decorate


@contextmanager
def custom_objects(objects: dict[str, Any] | None) -> Iterator[None]:
    """Within the block, files may also name these classes and functions, by the keys."""
    outer = _session.get()
    token = _session.set(_Session({**(outer.custom if outer else {}), **(objects or {})}))
    try:
        yield
    finally:
        _session.reset(token)


# -- writing ----------------------------------------------------------------------------------------------------------------------------


def serialize_object(value: Any) -> Any:
    """`value` in JSON types: plain values stay, tuples become lists, objects Keras's `{"module", "class_name", "config", ...}`.

    Raises:
        ValueError: a value that files cannot hold, such as a function that is not registered.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {str(key): serialize_object(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [serialize_object(item) for item in value]
    if isinstance(value, torch.dtype):
        return dtype_name(value)
    if isinstance(value, Tensor):
        return {"class_name": "__tensor__", "config": {"value": value.detach().cpu().tolist(), "dtype": dtype_name(value.dtype)}}
    if isinstance(value, np.ndarray):
        return {"class_name": "__numpy__", "config": {"value": value.tolist(), "dtype": str(value.dtype)}}
    if isinstance(value, Layer):
        return _serialize_layer(value)
    if hasattr(value, "get_config") and not isinstance(value, type):
        module, name, registered = _address(value)
        return {"module": module, "class_name": name, "config": serialize_object(value.get_config()), "registered_name": registered}
    if callable(value):
        key = next((key for key, thing in _registered.items() if thing is value), None)
        if key is None and value in _custom().values():
            key = next(name for name, thing in _custom().items() if thing is value)
        if key is not None:
            return {"module": "builtins", "class_name": "function", "config": key, "registered_name": "function"}
    raise ValueError(
        f"{value!r} cannot be saved: it is code.\n  try  @disttrain.models.saving.register() on its class or function, then save again"
    )


def _serialize_layer(layer: Layer) -> dict[str, Any]:
    session = _session.get()
    module, name, registered = _address(layer)
    data = {"module": module, "class_name": name, "config": serialize_object(layer.get_config()), "registered_name": registered}
    build = layer.get_build_config()
    if build is not None and module != "keras.src.ops.numpy":
        data["build_config"] = serialize_object(build)
    if session is not None:  # within one file, the same number is the same layer
        data["shared_object_id"] = session.written.setdefault(id(layer), len(session.written) + 1)
    return data


def _address(value: Any) -> tuple[str, str, str | None]:
    """(module, class name, registered name) as Keras would write them."""
    cls = type(value)
    name = cls.__name__
    key = next((key for key, thing in _registered.items() if thing is cls), None)
    if key is not None:
        return cls.__module__, name, key
    if LAYERS.get(name) is cls:
        return "keras.layers", name, None
    if isinstance(value, arithmetic.Operation):
        name = name.removesuffix("Operation")
        return "keras.src.ops.numpy", name, name
    if initializers.CLASSES.get(name) is cls:
        return "keras.initializers", name, None
    if regularizers.CLASSES.get(name) is cls:
        return "keras.regularizers", name, None
    model, sequential = _model_classes()
    if cls is sequential:
        return "keras", "Sequential", None
    if cls is model:
        return "keras.src.models.functional", "Functional", "Functional"
    room = cls.__module__.split(".")
    if room[0] == "disttrain" and len(room) > 1 and room[1] in ("losses", "metrics", "optimizers"):
        kind = "optimizers.schedules" if "schedules" in room else room[1]
        return f"keras.{kind}", name, None
    return cls.__module__, name, name


# -- reading ----------------------------------------------------------------------------------------------------------------------------


def deserialize_object(data: Any, kind: str = "layers") -> Any:
    """The inverse of `serialize_object` for a layer or model; `kind` says what stands here, since a file's `module` is not believed.

    Raises:
        ValueError: a class that is not known or not registered, or a config that its constructor refuses.
    """
    if not isinstance(data, dict) or not isinstance(data.get("class_name"), str) or not isinstance(data.get("config"), dict):
        raise ValueError(f"{_short(data)}: expected a config with 'class_name' and 'config', as a saved model has for each layer.")
    session, shared = _session.get(), data.get("shared_object_id")
    if session is not None and isinstance(shared, int) and shared in session.read:
        return session.read[shared]
    cls, is_model = _find_class(data)
    config = dict(data["config"]) if is_model else {key: _plain(item) for key, item in data["config"].items()}
    try:
        layer = cls.from_config(config)
    except TypeError as error:
        raise ValueError(f"{data['class_name']} cannot be made from its config: {error}") from error
    if not isinstance(layer, Layer):
        raise ValueError(f"{data['class_name']}: expected a layer, got {type(layer).__name__}.")
    build = data.get("build_config")
    if not layer.built and isinstance(build, dict) and any(shape is not None for shape in build.values()):
        layer.build_from_config(build)
    if session is not None and isinstance(shared, int):
        session.read[shared] = layer
    return layer


def _find_class(data: dict[str, Any]) -> tuple[Any, bool]:
    """(class, is it one of the two model classes, whose config nests layers)."""
    name, registered = data["class_name"], data.get("registered_name")
    custom = _custom()
    for key in (registered, name):
        if isinstance(key, str) and key in custom:
            return custom[key], False
    if isinstance(registered, str) and registered in _registered:
        return _registered[registered], False
    model, sequential = _model_classes()
    if name in ("Functional", "Model"):
        return model, True
    if name == "Sequential":
        return sequential, True
    if str(data.get("module", "")).startswith("keras.src.ops") and name in arithmetic.BY_NAME:
        return arithmetic.BY_NAME[name], False
    if name in LAYERS and (registered is None or ">" not in str(registered)):
        return LAYERS[name], False
    valid = [*LAYERS, "Functional", "Sequential", *_registered, *custom]
    nearest = difflib.get_close_matches(name, valid, n=8, cutoff=0.0)
    hint = "its code is data that could do anything; build the model by its script and load_weights" if name == "Lambda" else None
    raise ValueError(
        f"the file names the class {registered or name!r}, which is not known here.\n  expected  one of {', '.join(nearest)}, ...\n"
        f"  try  {hint or '@disttrain.models.saving.register(package=...) on the class, or custom_objects={name: class}'}"
    )


def _plain(value: Any) -> Any:
    """A value of a layer's config: arrays, nested layers, registered objects and functions are made; the rest stays as it is."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    name, config, registered = value.get("class_name"), value.get("config"), value.get("registered_name")
    if name in ("__tensor__", "__numpy__") and isinstance(config, dict):
        dtype = str(config.get("dtype"))
        if dtype not in DTYPES:
            raise ValueError(f"the file holds an array of dtype {dtype!r}: expected one of {', '.join(DTYPES)}.")
        made = torch.tensor(config.get("value"), dtype=DTYPES[dtype])
        return made if name == "__tensor__" else made.numpy()
    if name == "__lambda__":
        raise ValueError("the file holds a lambda, which is code and could do anything: it is not run.")
    if isinstance(name, str) and config is not None:
        for key in (config if name == "function" else registered, name):
            thing = {**_registered, **_custom()}.get(key) if isinstance(key, str) else None
            if thing is not None:
                return thing if name == "function" else thing.from_config({k: _plain(item) for k, item in config.items()})
        if str(value.get("module", "")).startswith(("keras.layers", "keras.src.layers", "keras.src.models")) and isinstance(config, dict):
            return deserialize_object(value)
        return value  # an initializer, a regularizer, a dtype: the constructor finds it in its own table
    return {key: _plain(item) for key, item in value.items()}


def _custom() -> dict[str, Any]:
    session = _session.get()
    return session.custom if session is not None else {}


def _model_classes() -> tuple[Any, Any]:
    from disttrain.models.model import Model
    from disttrain.models.sequential import Sequential

    return Model, Sequential


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:120] + "..."
