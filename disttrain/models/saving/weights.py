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
from disttrain.models.saving.archive import read_member, sound_archive
from disttrain.models.saving.file_seal import check_safetensors, is_sealed_safetensors, say_unchecked, seal_safetensors
from disttrain.models.saving.files import read_bytes, write_bytes
from disttrain.models.saving.fitting import misfit
from disttrain.models.saving.foreign import refuse_foreign_members, refuse_foreign_path
from disttrain.models.saving.h5 import check_h5, read_h5, read_h5_by_name, read_optimizer, write_h5
from disttrain.models.saving.optimizer_state import restore_optimizer

_ENDINGS = ".keras, .weights.h5 or .safetensors"

Found = tuple[list[tuple[Tensor, Tensor]], list[str]]


def save_weights(model: Layer, path: Any, overwrite: bool = True) -> None:
    """Write the weights of a built model to `.weights.h5`, with the optimizer's state as Keras does, or to `.safetensors`, without.

    Raises:
        ValueError: another ending, or a model that is not built.
        FileExistsError: the file is there and `overwrite` is False.
    """
    name = os.fspath(path)
    if not name.endswith((".weights.h5", ".safetensors")):
        raise ValueError(f"save_weights({name!r}): expected a path ending in .weights.h5 or .safetensors.")
    if not model.built:
        raise ValueError(f"{model._described()} has no weights yet: call it on data, or build(input_shape), before save_weights.")
    if name.endswith(".safetensors"):
        tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in model.named_weights()}
        write_bytes(path, seal_safetensors(safetensors.torch.save(tensors, metadata={"format": "pt"})), overwrite)
    else:
        write_bytes(path, write_h5(model), overwrite)


def load_weights(model: Layer, path: Any, skip_mismatch: bool = False, by_name: bool = False) -> None:
    """Read weights into a built model; all of them fit, or nothing is changed.

    Args:
        skip_mismatch: load what fits and warn of the rest.
        by_name: load the layers whose names the file has, and leave the others alone.

    Raises:
        ValueError: the file misses a weight or has it in another shape or dtype, is damaged, or has another ending.
    """
    name = os.fspath(path)
    if not model.built:
        raise ValueError(f"{model._described()} has no weights yet: call it on data, or build(input_shape), before load_weights.")
    refuse_foreign_path(path, "load_weights", _ENDINGS)
    if not name.endswith((".keras", ".h5", ".safetensors")):
        raise ValueError(f"load_weights({name!r}): expected a path ending in {_ENDINGS}.")
    data = read_bytes(path)
    if name.endswith(".safetensors"):
        found, problems = _from_safetensors(model, data, name, by_name)
        if not is_sealed_safetensors(data):
            say_unchecked(name)
        put_weights(model, found, problems, name, skip_mismatch)
        return
    if name.endswith(".keras"):
        with sound_archive(data, name) as archive:
            refuse_foreign_members(archive.namelist(), name)
            data = read_member(archive, "model.weights.h5", name)
    found, problems = (read_h5_by_name if by_name else read_h5)(model, data, name)
    kept = [] if by_name or getattr(model, "optimizer", None) is None else read_optimizer(data, name)
    if (
        not (problems and not skip_mismatch) and not check_h5(data, name) and not name.endswith(".keras")
    ):  # those have a checksum of each member
        say_unchecked(name)
    put_weights(model, found, problems, name, skip_mismatch)
    restore_optimizer(model, kept, name)


def put_weights(model: Layer, found: list[tuple[Tensor, Tensor]], problems: list[str], source: str, skip_mismatch: bool = False) -> None:
    """Copy values into weights, unless there are `problems`; then let layers with `finalize_state` make of them what they need."""
    if problems:
        text = f"{source} does not fit {model._described()}:\n  " + "\n  ".join(problems[:10])
        text += f"\n  and {len(problems) - 10} more" if len(problems) > 10 else ""
        if not skip_mismatch:
            raise ValueError(text)
        warnings.warn(text, stacklevel=3)
    with torch.no_grad():
        for weight, value in found:
            weight.copy_(value)
    for layer in model.modules():
        finalize = getattr(type(layer), "finalize_state", None)
        if finalize is not None and getattr(layer, "built", False):
            finalize(layer)


def _from_safetensors(model: Layer, data: bytes, source: str, by_name: bool) -> Found:
    tensors = read_safetensors(data, source)
    found, problems = [], []
    for key, weight in model.named_weights():
        value = tensors.pop(key, None)
        if value is None:
            if not by_name:
                problems.append(f"{key}: not in the file")
        elif (problem := misfit(weight, value)) is not None:
            problems.append(f"{key}: {problem}")
        else:
            found.append((weight, value))
    if not by_name:
        problems += [f"{key}: in the file, not in the model" for key in sorted(tensors)]
    return found, problems


def read_safetensors(data: bytes, source: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file; `source` names it in errors."""
    try:
        tensors = dict(safetensors.torch.load(data))
    except safetensors.SafetensorError as error:
        raise ValueError(f"{source} is no sound safetensors file: {error}") from error
    check_safetensors(data, source)
    return tensors
