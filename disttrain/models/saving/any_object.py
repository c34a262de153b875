"""Any object from its config, alone or in a structure: what Keras's `deserialize_keras_object` is there for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from disttrain import activations, constraints, initializers, losses, metrics, optimizers, regularizers
from disttrain.models.saving import registry
from disttrain.models.saving.deserialize import plain
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
    if name == "function" and isinstance(config, str):
        return _function(config)
    get = _getter(str(value.get("module", "")))
    if get is None or not isinstance(config, dict) or registry.find(value.get("registered_name"), name) is not None:
        return plain(value)
    return get({**value, "config": {key: plain(item) for key, item in config.items()}})


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
