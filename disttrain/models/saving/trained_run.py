"""The model of a trained run, from its directory alone: what it is from `model/`, its weights from a committed checkpoint. Only read."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from disttrain.checkpoint import CommitName, Loaded, Store, list_checkpoints, load, load_newest, read_history
from disttrain.checkpoint.address import split_address
from disttrain.checkpoint.history import newest_of_step
from disttrain.errors import CheckpointCorrupt, UsageError
from disttrain.models.saving.compiling import compile_as_written
from disttrain.models.saving.fitting import Found
from disttrain.models.saving.keras_file import json_of, made_of
from disttrain.models.saving.run_description import Described, description_path, read_description
from disttrain.models.saving.run_optimizers import Kept, kept_in, restore_optimizers
from disttrain.models.saving.weights import fitted, put_weights
from disttrain.training.step.named_arrays import as_tensor
from disttrain.training.step.step_owners import counting_in

_FILES = (".keras", ".h5", ".hdf5", ".safetensors", ".json")
_LOOKS = 3  # a run that trains deletes old checkpoints, perhaps while one is read


@dataclass(frozen=True)
class RunPlace:
    """A run directory, or one checkpoint in it.

    Args:
        address: as it was given.
        checkpoint: its name; None for the newest that is whole.
    """

    address: str
    store: Store
    checkpoint: str | None = None


@dataclass(frozen=True)
class Trained:
    """What a checkpoint holds of a model.

    Args:
        name: of the checkpoint.
        weights: by their names in `state_dict()`.
        optimizers: their state; nothing if not asked for.
        skipped: newer checkpoints that are damaged, and why.
    """

    name: str
    call: int
    weights: dict[str, Tensor]
    optimizers: Kept = field(default_factory=Kept)
    skipped: tuple[str, ...] = ()

    @property
    def step(self) -> int:
        """Updates of the optimizer."""
        name = CommitName.parse(self.name)
        assert name is not None
        return name.step


def run_at(path: Any) -> RunPlace | None:
    """The run directory, or the checkpoint in one (`RUN/NAME`), that a path or URL leads to; None where it is neither."""
    address = os.fspath(path)
    root, checkpoint = split_address(address)
    if checkpoint is None and address.endswith(_FILES):
        return None
    try:
        store = Store(root)
    except (ValueError, ImportError):  # no URL that fsspec knows: whoever opens the file says so
        return None
    if checkpoint is None and not (store.list("attempts") or list_checkpoints(store)):
        return None
    return RunPlace(address, store, checkpoint)


def read_trained(place: RunPlace, step: int | None = None, *, optimizer: bool = False) -> Trained:
    """What the newest checkpoint that is whole holds, every byte of it checked; or that of a step, or the one that `place` names.

    Args:
        step: optimizer updates; the newest checkpoint of that step, and no other.
        optimizer: read the state of optimizers too.

    Raises:
        UsageError: there is no checkpoint, or none of that step.
        CheckpointCorrupt, CheckpointIncomplete: the chosen one is damaged, or all are.
    """
    loaded, skipped = _loaded(place, step, "" if optimizer else "model/")
    tensors = {name: as_tensor(array) for name, array in loaded.arrays.items()}
    extra = loaded.manifest.extra
    call, meta = extra.get("call"), extra.get("meta")
    weights = {name.removeprefix("model/"): tensor for name, tensor in tensors.items() if name.startswith("model/")}
    if type(call) is not int or not isinstance(meta, dict) or not weights:
        raise UsageError(
            f"{place.address}: {loaded.manifest.name} is no checkpoint of a model.\n  expected  one that disttrain launch wrote"
        )
    return Trained(str(loaded.manifest.name), call, weights, kept_in(tensors, meta) if optimizer else Kept(), tuple(skipped))


def load_run(
    place: RunPlace, custom_objects: dict[str, Any] | None = None, compile: bool = True, safe_mode: bool = True, step: int | None = None
) -> Any:
    """The model of a run with its trained weights, without its script; compiled, with its optimizer's state, where `compile` is True.

    Raises:
        UsageError: the run does not describe its model, a class of it is not known, it keeps more than weights.
        CheckpointError: what is there is damaged.
    """
    trained = read_trained(place, step, optimizer=compile)
    _tell_skipped(place, trained)
    return model_of(place, trained, custom_objects, compile, safe_mode)


def model_of(place: RunPlace, trained: Trained, custom_objects: dict[str, Any] | None, compile: bool, safe_mode: bool = True) -> Any:
    """The model that the run describes, with the weights of a checkpoint; see `load_run`."""
    described = _described(place, trained.call)
    source = place.store.locate(description_path(trained.call))
    config = json_of(str(described.model_json).encode(), source)
    try:
        model = made_of(config, custom_objects, safe_mode, source, sum(tensor.nbytes for tensor in trained.weights.values()))
    except ValueError as error:
        raise UsageError(
            f"{place.address}: its model cannot be made without its script: {error}\n"
            "  try       model.load_weights(RUN) with the model of the script"
        ) from error
    put_weights(model, _fitted(model, trained.weights), f"{place.address}, checkpoint {trained.name},")
    model.trained_pictures = described.pictures
    settings = config.get("compile_config")
    if compile and isinstance(settings, dict) and settings:
        compile_as_written(model, settings, custom_objects)
        if model.compiled:
            restore_optimizers(model, trained.optimizers, trained.name)
    return model


def load_run_weights(
    model: Any, place: RunPlace, skip_mismatch: bool = False, by_name: bool = False, step: int | None = None
) -> None:  # fmt: skip
    """The weights of a run into a model that is built; of a compiled one, the optimizer's state too. Otherwise as `load_weights`."""
    compiled = bool(getattr(model, "compiled", False) and counting_in(model) and not by_name)
    trained = read_trained(place, step, optimizer=compiled)
    _tell_skipped(place, trained)
    put_weights(model, _fitted(model, trained.weights, by_name), f"{place.address}, checkpoint {trained.name},", skip_mismatch)
    if compiled:
        restore_optimizers(model, trained.optimizers, trained.name)


def _tell_skipped(place: RunPlace, trained: Trained) -> None:
    """Warn of newer checkpoints that are damaged."""
    for reason in trained.skipped:
        warnings.warn(f"{place.address}: passed over, {reason.splitlines()[0]}", stacklevel=3)


# -- choosing ---------------------------------------------------------------------------------------------------------------------------


def _loaded(place: RunPlace, step: int | None, prefix: str) -> tuple[Loaded, list[str]]:
    store = place.store
    if place.checkpoint is not None:
        if step is not None:
            raise UsageError(f"{place.address} is one checkpoint, and step={step} asks for another.\n  expected  one of the two")
        return load(store, place.checkpoint, prefix=prefix), []
    history = read_history(store)
    if step is not None:
        return load(store, newest_of_step(history, step, place.address), prefix=prefix), []
    for look in range(_LOOKS):
        try:
            newest = load_newest(store, history, prefix=prefix)
        except CheckpointCorrupt:
            before, history = history, read_history(store)
            if before == history or look == _LOOKS - 1:
                raise
            continue
        if newest is None:
            break
        before, history = history, read_history(store)
        if not newest.skipped or before == history or look == _LOOKS - 1:
            return Loaded(newest.arrays, newest.manifest), newest.skipped
    raise UsageError(
        f"{place.address} has no checkpoint yet, so no weights.\n"
        "  expected  a run that has committed one: --checkpoint-every says when\n"
        "  try       disttrain status shows what it does"
    )


# -- the model --------------------------------------------------------------------------------------------------------------------------


def _described(place: RunPlace, call: int) -> Described:
    described = read_description(place.store, call)
    if described is None or described.model_json is None:
        if described is None:
            why = f"is not described: {place.store.locate(description_path(call))} is missing"
        else:
            why = f"cannot be written down: {described.code or 'it is code'}"
        raise UsageError(
            f"{place.address}: the model of call {call} {why}\n"
            "  expected  layers that are known without the script, or a class with get_config()\n"
            "  try       model.load_weights(RUN) with the model of the script, or disttrain export --format safetensors or torch"
        )
    if described.beside:
        raise UsageError(
            f"{place.address}: layers keep more than weights, which checkpoints do not hold: {', '.join(described.beside[:4])}\n"
            "  try       model.save('model.keras') at the end of the script, or model.load_weights(RUN) with its model"
        )
    return described


def _fitted(model: Any, weights: dict[str, Tensor], by_name: bool = False) -> Found:
    """States with a row for each sample are of the batch that was trained on last, and no part of a model for another."""
    rows = {name for name, tensor in model.named_weights() if id(tensor) in _row_states(model)}
    fits = {name: tensor for name, tensor in model.named_weights() if name in rows and name in weights}
    left_alone = {name for name in rows if name not in weights or weights[name].shape != fits[name].shape}
    found = fitted(model, {name: tensor for name, tensor in weights.items() if name not in left_alone}, by_name)
    found.problems = [problem for problem in found.problems if problem.partition(":")[0] not in left_alone]
    return found


def _row_states(model: Any) -> set[int]:
    return {id(module._buffers[name]) for module in model.modules() for name in getattr(module, "_row_states", ())}
