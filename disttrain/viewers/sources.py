"""Where the model comes from: one in memory, or the file it was loaded from. What every source tells, runs too."""

from __future__ import annotations

import os
import threading
import time
from typing import Any, Protocol

import torch

from disttrain.errors import UsageError
from disttrain.models import Model, load_model
from disttrain.viewers.copying import copied
from disttrain.viewers.refusal import Refusal
from disttrain.viewers.run_source import RunSource, holds_run
from disttrain.viewers.samples import Samples

_LOOKED_AT_SECONDS = 1.0  # how often a model in memory is asked whether its weights changed
_DIGESTED_BYTES = 64 << 20  # of larger models only the counters of torch are compared


class Source(Protocol):
    """A model, under one or more names of checkpoints."""

    kind: str
    """ "model", "file" or "run"."""

    location: str
    """A path or URL; "" for a model in memory."""

    classes: list[str] | None
    samples: Samples

    def skeleton(self) -> Any:
        """The model, with whichever weights: for its graph."""

    def checkpoints(self) -> dict[str, Any]:
        """JSON of /api/checkpoints."""

    def resolve(self, checkpoint: str | None) -> tuple[str, str]:
        """(name, version) of a checkpoint, of the newest for None; two equal versions have equal weights. Raises Refusal."""

    def model(self, name: str, example: Any) -> Any:
        """The model with the weights of a checkpoint; `example` builds one that is not built. Raises Refusal."""


class ModelSource:
    """A model in memory: that of a notebook, which may go on training it, or that of a file.

    A copy is what is looked at: hooks and kept statistics of a pass would get into the way of a step that runs meanwhile.

    Args:
        model: the model itself, of which nothing is changed.
        location: the file it was loaded from, so that nobody else has the model and it needs no copy.
    """

    def __init__(self, model: Any, location: str = "") -> None:
        self.kind = "file" if location else "model"
        self.location = location
        self.classes: list[str] | None = None
        self.samples = Samples()
        self._model = self._shown = model
        self._lock = threading.Lock()
        self._version, self._looked_at, self._shown_version = "", -_LOOKED_AT_SECONDS, ""

    def skeleton(self) -> Any:
        """The model, or its copy."""
        return self.model("current", None)

    def checkpoints(self) -> dict[str, Any]:
        """One, called "current"; its version changes with its weights."""
        only = {"name": "current", "step": None, "epoch": None, "attempt": None, "version": self.resolve(None)[1]}
        return {"live": False, "state": None, "checkpoints": [only], "message": None}

    def resolve(self, checkpoint: str | None) -> tuple[str, str]:
        """The only one, and a digest of its weights."""
        if checkpoint not in (None, "current"):
            raise Refusal(404, f"there is no checkpoint {checkpoint!r}: a model that no run trained has one, 'current'")
        with self._lock:
            if time.monotonic() - self._looked_at >= _LOOKED_AT_SECONDS:
                self._version, self._looked_at = _fingerprint(self._model), time.monotonic()
            return "current", self._version

    def model(self, name: str, example: Any) -> Any:
        """The model, or its copy with the weights of now."""
        if self.location:
            return self._model
        _, version = self.resolve(None)
        with self._lock:
            if version != self._shown_version:
                if self._shown is self._model or not _put_weights(self._model, self._shown):
                    self._shown = self._copied()
                self._shown_version = version
            return self._shown

    def _copied(self) -> Any:
        try:
            return copied(self._model)
        except Exception:  # a model may hold anything: then it is looked at itself, between the steps of others
            return self._model


def _put_weights(source: Any, shown: Any) -> bool:
    """Copy all weights; False where the models are no longer made alike."""
    given, taken = list(source.named_weights()), list(shown.named_weights())
    if source.built != shown.built or [(name, new.shape, new.dtype) for name, new in given] != [
        (name, old.shape, old.dtype) for name, old in taken
    ]:
        return False
    with torch.no_grad():
        for (_, new), (_, old) in zip(given, taken, strict=True):
            old.copy_(new)
    shown.trained_pictures = getattr(source, "trained_pictures", None)
    return True


def _fingerprint(model: Any) -> str:
    if not model.built:
        return "not built"
    weights = [tensor for _, tensor in model.named_weights()]
    if sum(tensor.numel() * tensor.element_size() for tensor in weights) <= _DIGESTED_BYTES:
        return str(model.digest())
    return f"{sum(tensor._version for tensor in weights)}"


def is_model(value: Any) -> bool:
    """Is it a model, rather than a path?"""
    return isinstance(value, Model)


def open_source(model: Any, run: Any = None) -> Source:
    """What `launch` was given, as a source.

    Args:
        model: a model, the path of a .keras file, or a run directory.
        run: a run directory, whose weights go into `model`.

    Raises:
        UsageError: it is none of these, or a file that holds no model.
    """
    if run is not None:
        if not is_model(model):
            raise UsageError(f"launch({_described(model)}, run=...): expected the model whose weights the run has.")
        return RunSource(os.fspath(run), model)
    if is_model(model):
        return ModelSource(model)
    if not isinstance(model, str | os.PathLike):
        raise UsageError(f"launch({_described(model)}): expected a model of disttrain, the path of a .keras file, or a run directory.")
    path = os.fspath(model)
    if path.endswith((".keras", ".h5", ".hdf5", ".safetensors")):
        try:
            return ModelSource(load_model(path, compile=False), path)
        except FileNotFoundError:
            raise UsageError(f"{path}: there is no such file.\n  expected  a .keras file or a run directory") from None
        except ValueError as error:
            raise UsageError(str(error)) from error
    if not holds_run(path):
        raise UsageError(
            f"{path} is no run directory and no .keras file.\n  expected  the folder or URL of a launched training, or a saved model"
        )
    return RunSource(path)


def _described(value: Any) -> str:
    return repr(value) if isinstance(value, str | int | float | None) else type(value).__name__
