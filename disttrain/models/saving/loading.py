"""A model, or its weights, from wherever they are: a file, or the directory of a run that trained it."""

from __future__ import annotations

from typing import Any

from disttrain.layers.layer import Layer
from disttrain.models.module_state import lacks_weights
from disttrain.models.saving.keras_file import load_keras_file
from disttrain.models.saving.trained_run import load_run, load_run_weights, run_at
from disttrain.models.saving.weights import load_weights_file


def load_model(
    filepath: Any, custom_objects: dict[str, Any] | None = None, compile: bool = True, safe_mode: bool = True, *, step: int | None = None
) -> Any:
    """The model in a `.keras` file, whether this package or Keras 3 wrote it; or of a run, by its directory, without its script.

    A run gives the weights of its newest checkpoint that is whole: after the training those of its end. `RUN/NAME` is a checkpoint.

    Args:
        filepath: a path or any fsspec URL.
        custom_objects: name to class or function, for what is named there and `register` does not know.
        compile: compile it as it was; a setting that is not known here is a warning.
        safe_mode: False runs the code of lambdas that the file holds, which could do anything: for files of one's own only.
        step: of a run, the checkpoint after so many updates of the optimizer.

    Raises:
        ValueError: a damaged file, a class that is not known, weights that do not fit; a run that does not describe its model.
        CheckpointError: what a run holds is damaged.
    """
    place = run_at(filepath)
    if place is not None:
        return load_run(place, custom_objects, compile, safe_mode, step)
    _refuse_step(filepath, step)
    return load_keras_file(filepath, custom_objects, compile, safe_mode)


def load_weights(
    model: Layer, filepath: Any, skip_mismatch: bool = False, by_name: bool = False, *, step: int | None = None
) -> None:  # fmt: skip
    """Read weights into a built model; all of them fit, or nothing is changed.

    Args:
        filepath: a `.keras`, `.weights.h5` or `.safetensors` file, the directory of a run, or one of its checkpoints, `RUN/NAME`.
        skip_mismatch: load what fits and warn of the rest.
        by_name: load the layers whose names the file has, and leave the others alone.
        step: of a run, the checkpoint after so many updates of the optimizer.

    Raises:
        ValueError: the file misses a weight, or has one that the model does not have, or in another shape or dtype; it is damaged, or has
            another ending.
        CheckpointError: what a run holds is damaged.
    """
    if lacks_weights(model):
        raise ValueError(f"{model._described()} has no weights yet: call it on data, or build(input_shape), before load_weights.")
    place = run_at(filepath)
    if place is not None:
        load_run_weights(model, place, skip_mismatch, by_name, step)
        return
    _refuse_step(filepath, step)
    load_weights_file(model, filepath, skip_mismatch, by_name)


def _refuse_step(path: Any, step: int | None) -> None:
    if step is not None:
        raise ValueError(
            f"step={step}: {path} is no run directory, which alone holds several steps.\n  expected  a run directory, or no step"
        )
