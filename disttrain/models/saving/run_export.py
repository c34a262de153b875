"""A trained run as one file for others: a model of Keras, its weights alone, a `state_dict` of PyTorch, a program, an ONNX graph."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import Any

import torch

from disttrain.errors import UsageError
from disttrain.models.digest import weights_digest
from disttrain.models.export import export
from disttrain.models.saving.file_seal import sealed_safetensors
from disttrain.models.saving.files import write_bytes
from disttrain.models.saving.keras_file import save_model
from disttrain.models.saving.trained_run import RunPlace, Trained, model_of, read_trained, run_at

FORMATS = {"keras": (".keras",), "onnx": (".onnx",), "safetensors": (".safetensors",), "torch": (".pt", ".pth", ".pt2")}
_MODEL_NEEDED = (".keras", ".onnx", ".pt2")


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        step: updates of the optimizer.
        weights: how many arrays.
        digest: of them, as `disttrain digest` gives it.
        skipped: newer checkpoints that are damaged, and why.
    """

    file: str
    format: str
    run: str
    checkpoint: str
    step: int
    weights: int
    digest: str
    skipped: tuple[str, ...]


def export_run(
    run: Any, format: str | None = None, file: Any = None, *, step: int | None = None, custom_objects: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> Exported:  # fmt: skip
    """Write what a run has trained into one file.

    Args:
        run: its directory, or one of its checkpoints, `RUN/NAME`; a path or any fsspec URL.
        format: "keras"; "safetensors" and "torch", the weights by their names in `state_dict()`, for which no model is made ("torch" to a
            .pt2 is a program for `torch.export.load`); or "onnx". By the ending of `file` unless told.
        file: a path or any fsspec URL; in this folder, called as the run, unless told.
        step: the checkpoint after so many updates, not the newest.
        custom_objects: classes and functions of the model by the names that it has for them.

    Raises:
        UsageError: no run, no such checkpoint, a model that cannot be made or written in that format, a file that is there.
        CheckpointError: what the run holds is damaged.
    """
    place = run_at(run)
    if place is None:
        raise UsageError(f"{run} holds no run.\n  expected  a directory that disttrain launch --run-dir has written, or RUN/CHECKPOINT")
    format, name = _target(place, format, file)
    needs_model = name.endswith(_MODEL_NEEDED)
    trained = read_trained(place, step, optimizer=name.endswith(".keras"))
    try:
        if needs_model:
            _write_model(place, trained, name, custom_objects, overwrite)
        else:
            write_bytes(name, _weights(trained, name), overwrite)
    except FileExistsError as error:
        raise UsageError(f"{name} exists already.\n  try       --overwrite, or -o FILE for another one") from error
    except (ValueError, ImportError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(str(error)) from error
    digest = weights_digest(trained.weights.items())
    return Exported(name, format, place.address, trained.name, trained.step, len(trained.weights), digest, trained.skipped)


def _target(place: RunPlace, format: str | None, file: Any) -> tuple[str, str]:
    """(format, file)."""
    if format is None and file is None:
        raise UsageError(f"export: in which format?\n  expected  --format {', '.join(sorted(FORMATS))}, or -o FILE with its ending")
    if format is None:
        format = next((known for known, endings in FORMATS.items() if os.fspath(file).endswith(endings)), None)
        if format is None:
            endings = ", ".join(ending for known in FORMATS.values() for ending in known)
            raise UsageError(f"export to {os.fspath(file)!r}: in which format?\n  expected  --format, or a file ending in {endings}")
    if format not in FORMATS:
        raise UsageError(f"export(format={format!r}): expected one of {', '.join(sorted(FORMATS))}.")
    name = place.store.root.rsplit("/", 1)[-1] + FORMATS[format][0] if file is None else os.fspath(file)
    if not name.endswith(FORMATS[format]):
        raise UsageError(f"export to {name!r}: expected a file ending in {' or '.join(FORMATS[format])} for the format {format!r}.")
    return format, name


def _write_model(place: RunPlace, trained: Trained, name: str, custom_objects: dict[str, Any] | None, overwrite: bool) -> None:
    model = model_of(place, trained, custom_objects, compile=name.endswith(".keras"))
    if name.endswith(".keras"):
        save_model(model, name, overwrite)
    else:
        export(model, name, overwrite=overwrite)


def _weights(trained: Trained, name: str) -> bytes:
    if name.endswith(".safetensors"):
        return sealed_safetensors(trained.weights)
    buffer = io.BytesIO()
    torch.save(trained.weights, buffer)
    return buffer.getvalue()
