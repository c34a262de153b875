"""What a model was compiled with, as Keras's `compile_config`, and back."""

from __future__ import annotations

import inspect
import types
import warnings
from collections.abc import Callable
from typing import Any

from disttrain import losses, metrics, optimizers
from disttrain.models.file_classes import CLASSES as MODELS
from disttrain.models.network import Network
from disttrain.models.saving import registry
from disttrain.models.saving.deserialize import plain
from disttrain.models.saving.serialize import serialize_object


def compile_config(model: Network) -> dict[str, Any]:
    """The arguments of `compile`. A setting that is code without a name is left out, with a warning."""
    settings = {"optimizer": model.optimizer, **(model._compile_arguments or {})}
    plain_ones = {name: getattr(model, name) for name in ("run_eagerly", "steps_per_execution", "jit_compile")}
    return {**plain_ones, **written_settings(settings)}


def written_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """What `get_compile_config` gave, in JSON types: one of the script's own may hold an optimizer, say, as it is."""
    written: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, optimizers.TorchOptimizer):
            warnings.warn(
                f"optimizer={value!r} is torch's, so the file holds the model without it, and without its state.\n"
                "  try  torch.save(optimizer.state_dict(), path) beside it; compile() after loading",
                stacklevel=4,
            )
            written[name] = None
            continue
        if _holds_lambda(value):
            warnings.warn(f"{name}={value!r} is code, so the file holds the model without it: compile() after loading.", stacklevel=5)
            written[name] = None
            continue
        try:
            written[name] = serialize_object(value)
        except ValueError:
            warnings.warn(f"{name}={value!r} is code, so the file holds the model without it: compile() after loading.", stacklevel=5)
            written[name] = None
    return written


def compile_as_written(model: Any, config: dict[str, Any], custom: dict[str, Any] | None = None, jit_compile: bool = True) -> None:
    """Compile a model of a file by its class's own `compile_from_config`, where it has one, as Keras does; else by the one below."""
    if type(model).compile_from_config is MODELS["Functional"].compile_from_config:  # type: ignore[attr-defined]
        compile_from_config(model, config, custom, jit_compile)
        return
    with registry.custom_objects(custom):
        model.compile_from_config(config)


def compile_from_config(model: Network, config: dict[str, Any], custom: dict[str, Any] | None = None, jit_compile: bool = True) -> None:
    """Compile as `config` says; settings that are not known here are a warning, and the model stays uncompiled.

    Args:
        jit_compile: believe what it says of that; Keras writes down what was best for another backend.
    """
    gets: dict[str, Callable[[Any], Any]] = {
        "optimizer": optimizers.get,
        "loss": losses.get,
        "metrics": metrics.get,
        "weighted_metrics": metrics.get,
    }
    taken = set(inspect.signature(model.compile).parameters)
    try:
        with registry.custom_objects(custom):
            arguments = {
                name: _made(value, gets[name]) if name in gets else value
                for name, value in config.items()
                if name in taken and (jit_compile or name != "jit_compile")
            }
        model.compile(**arguments)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        warnings.warn(f"the model is loaded without being compiled: {error}\n  try  model.compile(...)", stacklevel=3)


def _made(value: Any, get: Callable[[Any], Any]) -> Any:
    """Configs become objects by `get`, which knows its classes by name; names and structures stay."""
    if isinstance(value, dict) and isinstance(value.get("class_name"), str) and "config" in value:
        if value["class_name"] == "function":
            found = registry.find(value["config"])
            if found is None:
                get(value["config"])  # one that is not known is an error here, not at the first step
                return value["config"]
            return found
        if value["class_name"] == "__lambda__":
            return plain(value)
        custom = registry.find(value.get("registered_name"), value["class_name"])
        config = {key: plain(item) for key, item in (value["config"] or {}).items()}
        return custom.from_config(config) if custom is not None else get({**value, "config": config})
    if isinstance(value, dict):
        return {key: _made(item, get) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_made(item, get) for item in value]
    return value


def _holds_lambda(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_lambda(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_holds_lambda(item) for item in value)
    return isinstance(value, types.FunctionType) and value.__name__ == "<lambda>" and registry.key_of(value) is None
