"""Any object from its config, alone or in a structure: what Keras's `deserialize_keras_object` is there for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from disttrain import activations, constraints, initializers, losses, metrics, mixed_precision, optimizers, regularizers
from disttrain.models.saving import registry
from disttrain.models.saving.deserialize import deserialize_object, plain
from disttrain.optimizers import schedules

_KINDS: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("optimizers.schedules", schedules.get),
    ("optimizers", optimizers.get),
    ("losses", losses.get),
    ("metrics", metrics.get),
    ("initializers", initializers.get),
    ("regularizers", regularizers.get),
    ("constraints", constraints.get),
)


def deserialize_any(config: Any, custom_objects: dict[str, Any] | None = None, safe_mode: bool | None = None) -> Any:
    """The inverse of `serialize_keras_object`: configs become layers, optimizers, losses ...; names and plain values stay.

    Args:
        custom_objects: name to class or function, for what configs name and `register` does not know.
        safe_mode: False runs code that the config holds; None leaves that as it is, which is not to run any unless told.

    Raises:
        ValueError: a class that is not known, or a config that its constructor refuses.
    """
    if custom_objects is None and safe_mode is None:
        return _made(config)
    with registry.custom_objects(custom_objects, safe_mode):
        return _made(config)


def _made(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_made(item) for item in value) if type(value) in (list, tuple) else [_made(item) for item in value]
    if not isinstance(value, dict):
        return value
    name, config = value.get("class_name"), value.get("config")
    if not isinstance(name, str) or "config" not in value:
        return {key: _made(item) for key, item in value.items()}
    registered, module = value.get("registered_name"), str(value.get("module", ""))
    if name == "function":
        if not isinstance(config, str):
            raise TypeError(f"Expected 'config' to be a non-null str, the name of a function. Received: config={config!r}")
        found = _function(config)
        if registered not in (None, "", name, config) and registry.find(registered) is None:
            raise _impostor(registered, config)
        return found
    if name == "__typespec__" and not isinstance(config, list | tuple):
        raise TypeError(f"Expected 'config' to be a list or a tuple. Received: config={config!r}")
    if not isinstance(config, dict):
        raise TypeError(f"Expected 'config' to be a dict, that of a {name}. Received: config={config!r}")
    if registry.find(registered, name) is not None:
        return plain(value)
    if registered not in (None, "", name) and module.startswith("keras"):
        raise _impostor(registered, name)
    get = _getter(module)
    if get is not None:
        return get({**value, "config": {key: plain(item) for key, item in config.items()}})
    if module == "keras":
        return mixed_precision.get(value) if name == "DTypePolicy" else deserialize_object(value)
    made = plain(value)
    if made is value:
        raise TypeError(
            f"Could not locate class {name!r}, of module {module!r}.\n"
            f"  try  @disttrain.register() on it, or custom_objects={{{name!r}: {name}}}"
        )
    return made


def _impostor(registered: Any, name: str) -> ValueError:
    """The error of a config that says one class and means another."""
    return ValueError(
        f"a config registered as {registered!r} resolved to a Keras built-in, {name!r}: nothing is registered by that name.\n"
        f"  try  @disttrain.register() on the class that was saved, or custom_objects={{{registered!r}: the class}}"
    )


def _function(name: str) -> Any:
    """A function by its name: one that was registered or handed over, else an activation or a loss.

    Raises:
        ValueError: there is none of that name.
    """
    known = registry.find(name)
    if known is not None:
        return known
    for room in (activations, losses):
        found = getattr(room, name, None) if not name.startswith("_") else None
        if callable(found) and not isinstance(found, type) and getattr(found, "__name__", None) == name:
            return found
    raise ValueError(
        f"the function {name!r} is not known here.\n  try  @disttrain.register() on it, or custom_objects={{{name!r}: function}}"
    )


def _getter(module: str) -> Callable[[Any], Any] | None:
    """What makes objects of a module of Keras, whichever backend wrote its name."""
    if not module.startswith("keras."):
        return None
    return next((get for kind, get in _KINDS if f".{kind}" in module), None)
