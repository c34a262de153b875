"""Weights alone: `.weights.h5` as Keras writes it, `.safetensors` for everybody else, or those inside a `.keras` file."""

from __future__ import annotations

import os
import warnings
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from disttrain.layers.layer import Layer
from disttrain.models.module_state import lacks_weights
from disttrain.models.saving.archive import read_member, sound_archive
from disttrain.models.saving.file_seal import check_safetensors, is_sealed_safetensors, say_unchecked, sealed_safetensors
from disttrain.models.saving.files import read_bytes, write_bytes
from disttrain.models.saving.fitting import Found
from disttrain.models.saving.foreign import refuse_foreign_members, refuse_foreign_path
from disttrain.models.saving.h5 import check_h5, read_h5, read_h5_by_name, read_optimizer, write_h5
from disttrain.models.saving.legacy_h5 import check_legacy, is_legacy, read_legacy
from disttrain.models.saving.optimizer_state import restore_optimizer
from disttrain.models.saving.own_variables import kept_beside

_ENDINGS = ".keras, .weights.h5 or .safetensors"


def save_weights(model: Layer, filepath: Any, overwrite: bool = True, max_shard_size: float | None = None) -> None:
    """Write the weights of a built model to `.weights.h5`, with the optimizer's state as Keras does, or to `.safetensors`, without.

    Raises:
        ValueError: another ending, a model that is not built, layers that keep more than weights in a format without room for it.
        FileExistsError: the file is there and `overwrite` is False.
    """
    name = os.fspath(filepath)
    if max_shard_size is not None:
        raise ValueError(
            f"save_weights(max_shard_size={max_shard_size!r}) is not here: weights are written to one file.\n"
            "  try  a path ending in .weights.h5 or .safetensors, without max_shard_size"
        )
    if not name.endswith((".weights.h5", ".safetensors")):
        raise ValueError(f"save_weights({name!r}): expected a path ending in .weights.h5 or .safetensors.")
    if lacks_weights(model):
        raise ValueError(f"{model._described()} has no weights yet: call it on data, or build(input_shape), before save_weights.")
    if name.endswith(".safetensors"):
        refuse_kept_beside(model, name)
        tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in model.named_weights()}
        write_bytes(filepath, sealed_safetensors(tensors), overwrite)
    else:
        write_bytes(filepath, write_h5(model), overwrite)


def load_weights_file(model: Layer, path: Any, skip_mismatch: bool = False, by_name: bool = False) -> None:
    """Read weights from a file into a built model; arguments and errors as those of `load_weights`."""
    name = os.fspath(path)
    refuse_foreign_path(path, "load_weights", f"{_ENDINGS}, or a run directory")
    if not name.endswith((".keras", ".h5", ".hdf5", ".safetensors")):
        raise ValueError(f"load_weights({name!r}): expected a path ending in {_ENDINGS}.")
    data = read_bytes(path)
    if name.endswith(".safetensors"):
        found = _from_safetensors(model, data, name, by_name)
        if not is_sealed_safetensors(data):
            say_unchecked(name)
        put_weights(model, found, name, skip_mismatch)
        return
    if is_legacy(data, name):
        found = read_legacy(model, data, name, by_name)
        if not (found.problems and not skip_mismatch) and not check_legacy(data, name):
            say_unchecked(name)
        put_weights(model, found, name, skip_mismatch)
        return
    if name.endswith(".keras"):
        with sound_archive(data, name) as archive:
            refuse_foreign_members(archive.namelist(), name)
            data = read_member(archive, "model.weights.h5", name)
    found = (read_h5_by_name if by_name else read_h5)(model, data, name)
    kept = [] if by_name or getattr(model, "optimizer", None) is None else read_optimizer(data, name)
    if (
        not (found.problems and not skip_mismatch) and not check_h5(data, name) and not name.endswith(".keras")
    ):  # those have a checksum of each member
        say_unchecked(name)
    put_weights(model, found, name, skip_mismatch)
    restore_optimizer(model, kept, name)


def put_weights(model: Layer, found: Found, source: str, skip_mismatch: bool = False) -> None:
    """Copy what was found into the weights, unless there are problems; then let layers with `finalize_state` make of them what they need.

    Raises:
        ValueError: there are problems, or a layer that reads its variables itself does not take them; no weight is changed.
    """
    if found.problems:
        _say(model, found.problems, source, skip_mismatch)
    with torch.no_grad():
        if failed := _hand_over(found):
            _say(model, failed, source, skip_mismatch)
        for weight, value in found.values:
            weight.copy_(value)
    if found.rounded:
        key, theirs, ours = found.rounded[0]
        more = f", and {len(found.rounded) - 1} more" if len(found.rounded) > 1 else ""
        warnings.warn(f"{source}: values of dtype {theirs} are rounded to {ours}, that of the model: {key}{more}.", stacklevel=4)
    for layer in model.modules():
        finalize = getattr(type(layer), "finalize_state", None)
        if finalize is not None and getattr(layer, "built", False):
            finalize(layer)


def _hand_over(found: Found) -> list[str]:
    """Let layers read their own variables, before anything else: their code may refuse. Those whose code did keep their weights."""
    problems = []
    before = [(weight, weight.detach().clone()) for layer, _ in found.own for weight in layer.weights]
    for layer, variables in found.own:
        try:
            layer.load_own_variables(variables)
        except Exception as error:  # code of the script's own
            problems.append(f"{layer.name}: its load_own_variables raised {type(error).__name__}: {error}")
    if problems:
        for weight, value in before:
            weight.copy_(value)
    return problems


def _say(model: Layer, problems: list[str], source: str, skip_mismatch: bool) -> None:
    text = f"{source} does not fit {model._described()}:\n  " + "\n  ".join(problems[:10])
    text += f"\n  and {len(problems) - 10} more" if len(problems) > 10 else ""
    if not skip_mismatch:
        raise ValueError(text)
    warnings.warn(text, stacklevel=4)


def refuse_kept_beside(model: Layer, source: str) -> None:
    """Raise ValueError where layers keep arrays that are no weights, for which `source` has no room."""
    beside = kept_beside(list(model.modules()))
    if beside:
        raise ValueError(
            f"{source} holds weights alone, and {', '.join(beside[:4])} {'keeps' if len(beside) == 1 else 'keep'} more than those: "
            "save_own_variables() says so.\n  try  a .keras or .weights.h5 file"
        )


def _from_safetensors(model: Layer, data: bytes, source: str, by_name: bool) -> Found:
    return fitted(model, read_safetensors(data, source), by_name)


def fitted(model: Layer, tensors: dict[str, Tensor], by_name: bool = False) -> Found:
    """What tensors, by the names of `state_dict()`, are for a model: each of the one is held against each of the other.

    Args:
        by_name: leave out what only one of them has.
    """
    found, left = Found(), dict(tensors)
    for key, weight in model.named_weights():
        value = left.pop(key, None)
        if value is not None:
            found.take(key, weight, value)
        elif not by_name:
            found.problems.append(f"{key}: not in the file")
    if not by_name:
        found.problems += [f"{key}: in the file, not in the model" for key in sorted(left)]
    return found


def read_safetensors(data: bytes, source: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file; `source` names it in errors."""
    try:
        tensors = dict(safetensors.torch.load(data))
    except safetensors.SafetensorError as error:
        raise ValueError(f"{source} is no sound safetensors file: {error}") from error
    check_safetensors(data, source)
    return tensors
