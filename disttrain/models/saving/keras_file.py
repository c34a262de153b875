"""Whole models in files. `.keras`: a zip of what the model is (JSON) and its weights (HDF5), in the format of Keras 3.

`.h5` is that of Keras 2, see `legacy_h5`."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import time
import zipfile
from typing import Any

from disttrain.layers.weight_budget import weight_budget
from disttrain.models import trained_pictures
from disttrain.models.module_state import lacks_weights
from disttrain.models.network import Network
from disttrain.models.saving.archive import MAX_CONFIG_BYTES, read_member, sound_archive
from disttrain.models.saving.assets import asset_members, load_assets
from disttrain.models.saving.compiling import compile_as_written, written_settings
from disttrain.models.saving.deserialize import deserialize_object
from disttrain.models.saving.file_seal import say_unchecked
from disttrain.models.saving.files import read_bytes, write_bytes
from disttrain.models.saving.foreign import refuse_foreign_bytes, refuse_foreign_members, refuse_foreign_path, refuse_newer
from disttrain.models.saving.h5 import check_h5, read_h5, read_optimizer, write_h5
from disttrain.models.saving.legacy_h5 import check_legacy, is_legacy, read_configs, read_legacy, read_legacy_optimizer, write_legacy
from disttrain.models.saving.optimizer_state import restore_optimizer
from disttrain.models.saving.registry import custom_objects as custom_objects_within
from disttrain.models.saving.serialize import serialize_object
from disttrain.models.saving.unzipped import folder_as_archive, write_folder
from disttrain.models.saving.weights import put_weights, refuse_kept_beside
from disttrain.parsing import parsed

KERAS_VERSION = "3.15.1"  # whose format this is
FORMAT_VERSION = 1  # of what this package adds to it, which Keras does not look at
_MIN_BUDGET_BYTES = 16 << 20
_WHOLE = (".keras", ".h5", ".hdf5")


def save_model(model: Network, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **options: Any) -> None:
    """Write a built model to a `.keras` file, or to `.h5`.

    Args:
        zipped: False writes a folder with the same content.
        options: `include_optimizer=False` leaves the optimizer's state out; `save_format` is Keras 2's, and told by the ending here.

    Raises:
        ValueError: another ending, a model that is not built, a layer that is code.
        FileExistsError: the file is there and `overwrite` is False.
    """
    name, include_optimizer = os.fspath(filepath), _include_optimizer(os.fspath(filepath), options)
    if (not name.endswith(_WHOLE) or name.endswith(".weights.h5")) and zipped is not False:
        raise ValueError(
            f"save({name!r}): expected a path ending in .keras, or .h5 for the layout of Keras 2.\n"
            "  try  save_weights() for .weights.h5 and .safetensors"
        )
    if not model.built and (model._has_outputs() or lacks_weights(model)):
        raise ValueError(f"{model._described()} has no weights yet: call it on data, or build(input_shape), before save.")
    config = _config_of(model)
    if not name.endswith(".keras") and zipped is not False:
        refuse_kept_beside(model, name)
        write_bytes(filepath, write_legacy(model, config, KERAS_VERSION, include_optimizer), overwrite)
        return
    metadata = {"keras_version": KERAS_VERSION, "date_saved": time.strftime("%Y-%m-%d@%H:%M:%S"), "disttrain_version": FORMAT_VERSION}
    note = getattr(model, "trained_pictures", None)
    if note is not None:
        metadata[trained_pictures.KEY] = note
    members = [
        ("metadata.json", json.dumps(metadata).encode()),
        ("config.json", json.dumps(config).encode()),
        ("model.weights.h5", write_h5(model, include_optimizer)),
        *asset_members(model),
    ]
    if zipped is False:
        write_folder(filepath, members, overwrite)
        return
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for member, data in members:
            archive.writestr(zipfile.ZipInfo(member), data)
    write_bytes(filepath, buffer.getvalue(), overwrite)


def _include_optimizer(name: str, options: dict[str, Any]) -> bool:
    """Of what Keras takes beside: is the optimizer's state wanted?"""
    left = {key: value for key, value in options.items() if key not in ("include_optimizer", "save_format")}
    if left:
        raise ValueError(f"The following argument(s) are not supported: {list(left)}")
    if options.get("save_format"):
        if not name.endswith(".keras"):
            raise ValueError(
                "The `save_format` argument is deprecated in Keras 3. Please remove this argument and pass a file path with the `.keras` "
                f"extension. Received: save_format={options['save_format']}"
            )
        logging.getLogger("disttrain").warning("save(save_format=...) is not needed: the ending of the path says it")
    return bool(options.get("include_optimizer", True))


def to_json(model: Network, **options: Any) -> str:
    """The config of a model, and of its compiling, as JSON."""
    return json.dumps(_config_of(model), **options)


def _config_of(model: Any) -> dict[str, Any]:
    with custom_objects_within():
        config: dict[str, Any] = serialize_object(model)
        settings = model.get_compile_config()
        if settings is not None:
            config["compile_config"] = written_settings(settings)
    return config


def model_from_json(text: str, custom_objects: dict[str, Any] | None = None, safe_mode: bool = True) -> Any:
    """The model that `to_json` described, with fresh weights; compiled where it was.

    Raises:
        ValueError: no JSON of a model, a class that is not known.
    """
    config = json_of(text.encode(), "model_from_json")
    model = made_of(config, custom_objects, safe_mode, "model_from_json", None)
    if isinstance(config.get("compile_config"), dict) and config["compile_config"]:
        compile_as_written(model, config["compile_config"], custom_objects)
    return model


def load_keras_file(path: Any, custom_objects: dict[str, Any] | None = None, compile: bool = True, safe_mode: bool = True) -> Any:
    """The model in a `.keras` or `.h5` file; arguments and errors as those of `load_model`."""
    name, data = os.fspath(path), folder_as_archive(path)
    if data is None:
        data = _bytes_of_file(path)
    if is_legacy(data, name):
        return _load_legacy(data, name, custom_objects, compile, safe_mode)
    with sound_archive(data, name) as archive:
        refuse_foreign_members(archive.namelist(), name)
        known = "metadata.json" in archive.namelist()
        metadata = json_of(read_member(archive, "metadata.json", name, MAX_CONFIG_BYTES), name) if known else {}
        refuse_newer(metadata, name)
        config = json_of(read_member(archive, "config.json", name, MAX_CONFIG_BYTES), name)
        weights = read_member(archive, "model.weights.h5", name)
        model = made_of(config, custom_objects, safe_mode, name, len(weights))
        load_assets(model, archive, name)
        found = read_h5(model, weights, name)
        recompiles = compile and isinstance(config.get("compile_config"), dict) and bool(config["compile_config"])
        kept = read_optimizer(weights, name) if recompiles else []
        if not found.problems:
            check_h5(weights, name)
        put_weights(model, found, name)
    model.trained_pictures = trained_pictures.checked(metadata.get(trained_pictures.KEY))
    if recompiles:
        compile_as_written(model, config["compile_config"], custom_objects, jit_compile="disttrain_version" in metadata)
        if model.compiled:
            restore_optimizer(model, kept, name)
    return model


def _bytes_of_file(path: Any) -> bytes:
    name = os.fspath(path)
    refuse_foreign_path(path, "load_model", ".keras, or a run directory")
    if not name.endswith((".keras", ".h5", ".hdf5")):
        raise ValueError(
            f"load_model({name!r}): expected a path ending in .keras or .h5, or a run directory.\n"
            "  try  model.load_weights() for weights alone"
        )
    data = read_bytes(path)
    if name.endswith(".keras"):
        refuse_foreign_bytes(data, name)
    elif not is_legacy(data, name):
        raise ValueError(
            f"load_model({name!r}): this holds weights alone.\n  try  model.load_weights(path) with the model that they belong to"
        )
    return data


def _load_legacy(data: bytes, name: str, custom: dict[str, Any] | None, compile: bool, safe_mode: bool) -> Any:
    """The model in an HDF5 file in the layout of Keras 2."""
    config, settings = read_configs(data, name)
    model = made_of(config, custom, safe_mode, name, len(data))
    if not model.built:
        raise ValueError(
            f"{name}: {model._described()} is not built by its config, so that its weights have no place.\n"
            "  try  the model of the script, built, and model.load_weights(path)"
        )
    found = read_legacy(model, data, name)
    if not found.problems and not check_legacy(data, name):
        say_unchecked(name)
    put_weights(model, found, name)
    if compile and settings is not None:
        compile_as_written(model, settings, custom, jit_compile=False)
        if model.compiled:
            restore_optimizer(model, read_legacy_optimizer(data, name), name)
    return model


def made_of(config: dict[str, Any], custom: dict[str, Any] | None, safe_mode: bool, source: str, weight_bytes: int | None) -> Any:
    """The model of a config, without its weights. Those stand in the file uncompressed: a config that asks for much more is a trick."""
    limit = contextlib.nullcontext() if weight_bytes is None else weight_budget(max(_MIN_BUDGET_BYTES, 2 * weight_bytes))
    try:
        with custom_objects_within(custom, safe_mode), limit:
            model = deserialize_object(config)
    except RecursionError as error:
        raise ValueError(f"{source}: its config nests too deep to be a model's.") from error
    except (KeyError, AttributeError, IndexError, TypeError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"{source}: its config is not that of a model: {type(error).__name__}: {error}") from error
    if not hasattr(model, "get_layer"):
        raise ValueError(f"{source} holds a {type(model).__name__}, expected a model.")
    return model


def json_of(data: bytes, source: str) -> dict[str, Any]:
    """The config of a model, from JSON; `source` names it in errors."""
    try:
        config = parsed(data)
    except ValueError as error:
        raise ValueError(f"{source}: config.json is damaged: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{source}: config.json is not that of a model.")
    return config
