"""Whole models in `.keras` files: a zip of what the model is (JSON) and its weights (HDF5), in the format of Keras 3."""

from __future__ import annotations

import io
import json
import os
import time
import warnings
import zipfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from disttrain.layers.weight_budget import weight_budget
from disttrain.models.saving.archive import MAX_CONFIG_BYTES, read_member, sound_archive
from disttrain.models.saving.files import read_bytes, write_bytes
from disttrain.models.saving.h5 import read_h5, write_h5
from disttrain.models.saving.objects import custom_objects as custom_objects_within
from disttrain.models.saving.objects import deserialize_object, serialize_object
from disttrain.models.saving.weights import put_weights

if TYPE_CHECKING:
    from disttrain.models.model import Model

KERAS_VERSION = "3.15.1"  # whose format this is
_MIN_BUDGET_BYTES = 16 << 20


def save_model(model: Model, path: Any, overwrite: bool = True) -> None:
    """Write a built model to a `.keras` file.

    Raises:
        ValueError: another ending, a model that is not built, a layer that is code.
        FileExistsError: the file is there and `overwrite` is False.
    """
    name = os.fspath(path)
    if not name.endswith(".keras"):
        raise ValueError(f"save({name!r}): expected a path ending in .keras.\n  try  save_weights() for .weights.h5 and .safetensors")
    if not model.built:
        raise ValueError(f"{model._described()} has no weights yet: call it on data, or build(input_shape), before save.")
    with custom_objects_within(None):
        config = serialize_object(model)
        if model.compiled:
            config["compile_config"] = _compile_config(model)
    metadata = {"keras_version": KERAS_VERSION, "date_saved": time.strftime("%Y-%m-%d@%H:%M:%S")}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for member, data in (
            ("metadata.json", json.dumps(metadata).encode()),
            ("config.json", json.dumps(config).encode()),
            ("model.weights.h5", write_h5(model)),
        ):
            archive.writestr(zipfile.ZipInfo(member), data)
    write_bytes(path, buffer.getvalue(), overwrite)


def load_model(path: Any, custom_objects: dict[str, Any] | None = None, compile: bool = True, safe_mode: bool = True) -> Any:
    """The model in a `.keras` file, whether this package or Keras 3 wrote it.

    Args:
        custom_objects: name to class or function, for what the file names and `register` does not know.
        compile: compile it as it was; a setting that is not known here is a warning.
        safe_mode: only True is supported: code inside a file is never run.

    Raises:
        ValueError: a damaged file, a class that is not known, weights that do not fit.
    """
    if not safe_mode:
        raise ValueError("load_model(safe_mode=False) is not supported: code inside a file is never run.")
    name = os.fspath(path)
    if not name.endswith(".keras"):
        raise ValueError(f"load_model({name!r}): expected a path ending in .keras.\n  try  model.load_weights() for weights alone")
    with sound_archive(read_bytes(path), name) as archive:
        config = _json(read_member(archive, "config.json", name, MAX_CONFIG_BYTES), name)
        weights = read_member(archive, "model.weights.h5", name)
    try:
        # Weights stand in the file uncompressed: a config that asks for much more than the file holds is a trick.
        with custom_objects_within(custom_objects), weight_budget(max(_MIN_BUDGET_BYTES, 2 * len(weights))):
            model = deserialize_object(config)
    except RecursionError as error:
        raise ValueError(f"{name}: its config nests too deep to be a model's.") from error
    except (KeyError, AttributeError, IndexError) as error:
        raise ValueError(f"{name}: its config is not that of a model: {type(error).__name__}: {error}") from error
    if not hasattr(model, "get_layer"):
        raise ValueError(f"{name} holds a {type(model).__name__}, expected a model.")
    found, problems = read_h5(model, weights, name)
    put_weights(model, found, problems, name)
    if compile and isinstance(config.get("compile_config"), dict) and config["compile_config"]:
        _compile(model, config["compile_config"], custom_objects or {})
    return model


def _json(data: bytes, source: str) -> dict[str, Any]:
    try:
        config = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{source}: config.json is damaged: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{source}: config.json is not that of a model.")
    return config


def _compile_config(model: Model) -> dict[str, Any]:
    given = dict(model._compile_arguments or {})
    settings = {"optimizer": model.optimizer, **given}
    written: dict[str, Any] = {"run_eagerly": False, "steps_per_execution": 1, "jit_compile": False}
    for name, value in settings.items():
        try:
            written[name] = serialize_object(value)
        except ValueError:
            warnings.warn(f"{name}={value!r} is code, so the file holds the model without it: compile() after loading.", stacklevel=4)
            written[name] = None
    return written


def _compile(model: Model, config: dict[str, Any], custom: dict[str, Any]) -> None:
    from disttrain import losses, metrics, optimizers

    try:
        model.compile(
            optimizer=_named(config.get("optimizer"), optimizers.get, custom),
            loss=_named(config.get("loss"), losses.get, custom),
            loss_weights=config.get("loss_weights"),
            metrics=_named(config.get("metrics"), metrics.get, custom),
            weighted_metrics=_named(config.get("weighted_metrics"), metrics.get, custom),
        )
    except (ValueError, TypeError, KeyError) as error:
        warnings.warn(f"the model is loaded without being compiled: {error}\n  try  model.compile(...)", stacklevel=3)


def _named(value: Any, get: Callable[[Any], Any], custom: dict[str, Any]) -> Any:
    """Configs become objects by `get`, which knows its classes by name; names and structures stay."""
    if isinstance(value, dict) and isinstance(value.get("class_name"), str) and "config" in value:
        if value["class_name"] == "function":
            return custom.get(value["config"], value["config"])
        made = custom.get(value["class_name"])
        return made.from_config(value["config"]) if made is not None else get(value)
    if isinstance(value, dict):
        return {key: _named(item, get, custom) for key, item in value.items()}
    if isinstance(value, list):
        return [_named(item, get, custom) for item in value]
    return value
