"""Whole models in `.keras` files: a zip of what the model is (JSON) and its weights (HDF5), in the format of Keras 3."""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
import zipfile
from typing import Any

from disttrain.layers.weight_budget import weight_budget
from disttrain.models import trained_pictures
from disttrain.models.network import Network
from disttrain.models.saving.archive import MAX_CONFIG_BYTES, read_member, sound_archive
from disttrain.models.saving.assets import asset_members, load_assets
from disttrain.models.saving.compiling import compile_config, compile_from_config
from disttrain.models.saving.deserialize import deserialize_object
from disttrain.models.saving.files import read_bytes, write_bytes
from disttrain.models.saving.foreign import refuse_foreign_bytes, refuse_foreign_members, refuse_foreign_path, refuse_newer
from disttrain.models.saving.h5 import check_h5, read_h5, read_optimizer, write_h5
from disttrain.models.saving.optimizer_state import restore_optimizer
from disttrain.models.saving.registry import custom_objects as custom_objects_within
from disttrain.models.saving.serialize import serialize_object
from disttrain.models.saving.weights import put_weights

KERAS_VERSION = "3.15.1"  # whose format this is
FORMAT_VERSION = 1  # of what this package adds to it, which Keras does not look at
_MIN_BUDGET_BYTES = 16 << 20


def save_model(model: Network, path: Any, overwrite: bool = True) -> None:
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
            config["compile_config"] = compile_config(model)
    metadata = {"keras_version": KERAS_VERSION, "date_saved": time.strftime("%Y-%m-%d@%H:%M:%S"), "disttrain_version": FORMAT_VERSION}
    note = getattr(model, "trained_pictures", None)
    if note is not None:
        metadata[trained_pictures.KEY] = note
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for member, data in (
            ("metadata.json", json.dumps(metadata).encode()),
            ("config.json", json.dumps(config).encode()),
            ("model.weights.h5", write_h5(model)),
            *asset_members(model),
        ):
            archive.writestr(zipfile.ZipInfo(member), data)
    write_bytes(path, buffer.getvalue(), overwrite)


def to_json(model: Network, **options: Any) -> str:
    """The config of a model, and of its compiling, as JSON."""
    with custom_objects_within():
        config = serialize_object(model)
        if model.compiled:
            config["compile_config"] = compile_config(model)
    return json.dumps(config, **options)


def model_from_json(text: str, custom_objects: dict[str, Any] | None = None, safe_mode: bool = True) -> Any:
    """The model that `to_json` described, with fresh weights; compiled where it was.

    Raises:
        ValueError: no JSON of a model, a class that is not known.
    """
    config = _json(text.encode(), "model_from_json")
    model = _made(config, custom_objects, safe_mode, "model_from_json", None)
    if isinstance(config.get("compile_config"), dict) and config["compile_config"]:
        compile_from_config(model, config["compile_config"], custom_objects)
    return model


def load_model(path: Any, custom_objects: dict[str, Any] | None = None, compile: bool = True, safe_mode: bool = True) -> Any:
    """The model in a `.keras` file, whether this package or Keras 3 wrote it.

    Args:
        custom_objects: name to class or function, for what the file names and `register` does not know.
        compile: compile it as it was; a setting that is not known here is a warning.
        safe_mode: False runs the code of lambdas that the file holds, which could do anything: for files of one's own only.

    Raises:
        ValueError: a damaged file, a class that is not known, weights that do not fit.
    """
    name = os.fspath(path)
    refuse_foreign_path(path, "load_model", ".keras")
    if name.endswith((".h5", ".hdf5", ".safetensors")):
        advice = "keras.models.load_model(path).save('model.keras') for a whole model, model.load_weights(path) for weights alone"
        raise ValueError(f"load_model({name!r}): this holds weights, or a model as Keras 2 wrote it.\n  expected  .keras\n  try  {advice}")
    if not name.endswith(".keras"):
        raise ValueError(f"load_model({name!r}): expected a path ending in .keras.\n  try  model.load_weights() for weights alone")
    data = read_bytes(path)
    refuse_foreign_bytes(data, name)
    with sound_archive(data, name) as archive:
        refuse_foreign_members(archive.namelist(), name)
        known = "metadata.json" in archive.namelist()
        metadata = _json(read_member(archive, "metadata.json", name, MAX_CONFIG_BYTES), name) if known else {}
        refuse_newer(metadata, name)
        config = _json(read_member(archive, "config.json", name, MAX_CONFIG_BYTES), name)
        weights = read_member(archive, "model.weights.h5", name)
        model = _made(config, custom_objects, safe_mode, name, len(weights))
        load_assets(model, archive, name)
        found, problems = read_h5(model, weights, name)
        recompiles = compile and isinstance(config.get("compile_config"), dict) and bool(config["compile_config"])
        kept = read_optimizer(weights, name) if recompiles else []
        if not problems:
            check_h5(weights, name)
        put_weights(model, found, problems, name)
    model.trained_pictures = trained_pictures.checked(metadata.get(trained_pictures.KEY))
    if recompiles:
        compile_from_config(model, config["compile_config"], custom_objects, jit_compile="disttrain_version" in metadata)
        if model.compiled:
            restore_optimizer(model, kept, name)
    return model


def _made(config: dict[str, Any], custom: dict[str, Any] | None, safe_mode: bool, source: str, weight_bytes: int | None) -> Any:
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


def _json(data: bytes, source: str) -> dict[str, Any]:
    try:
        config = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{source}: config.json is damaged: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{source}: config.json is not that of a model.")
    return config
