"""What is needed of a run beside its checkpoints, to have its model without its script and for the viewer; written when a fit begins.

model/000002.json           the model of call 2 as JSON, sealed (null where it is code); the names of its classes, the steps of an epoch
model/000002.safetensors    inputs "x", or "x/0" or "x/<name>" for several, and labels "y"
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch.nn.utils.rnn import PackedSequence

from disttrain.checkpoint import Store
from disttrain.checkpoint.records import record
from disttrain.data import StreamedSource, StreamPlan
from disttrain.data.py_dataset import BatchesSource
from disttrain.models.saving.assets import asset_members
from disttrain.models.saving.own_variables import kept_beside
from disttrain.models.saving.run_description import FOLDER, FORM, description_path
from disttrain.rundir.timeline import Console
from disttrain.text import is_text
from disttrain.training.job import Job
from disttrain.training.local.runner import kept_generators
from disttrain.training.program import Kind

_MAX_SAMPLES_BYTES = 4 << 20


class ModelDescription:
    """Writes them on a thread of its own: a store that is slow or away costs the training nothing.

    Args:
        samples: at most so many; 0 for none.
    """

    def __init__(self, store: Store, console: Console, samples: int) -> None:
        self._store, self._console, self._samples = store, console, samples
        self._thread: threading.Thread | None = None
        self._told: list[str] = []  # which layers keep more than checkpoints do

    def write(self, call: int, job: Job, *, fresh: bool) -> None:
        """Describe the model of a fit; `fresh`: what is there is of another run."""
        self.wait()
        description = described(call, job)
        files = {description_path(call): record(FORM, description)}
        if description["beside"] and description["beside"] != self._told:
            self._told = description["beside"]
            names = ", ".join(self._told[:4])
            words = f"{names}: kept beside the weights, so in no checkpoint: load_model(RUN) cannot give it, model.save() at the end does"
            self._console.event("kept beside", words, layers=self._told)
        try:
            samples = sampled(job, self._samples)
        except Exception as error:  # a dataset of the script's own may do anything; the workers will meet it too, and say more
            self._console.event("samples failed", None, reason=f"{type(error).__name__}: {error}")
            samples = {}
        self._thread = threading.Thread(target=self._put, args=(call, files, samples, fresh), name="model-description", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when everything is written, or after a minute."""
        if self._thread is not None:
            self._thread.join(timeout=60.0)
            self._thread = None

    def _put(self, call: int, files: dict[str, bytes], samples: dict[str, torch.Tensor], fresh: bool) -> None:
        try:
            if samples:
                files = {f"{FOLDER}/{call:06d}.safetensors": save(samples), **files}
            stale = [f"{FOLDER}/{name}" for name in self._store.list(FOLDER)] if fresh else []
            for path, data in files.items():
                self._store.put(path, data)
            for path in stale:
                if path not in files:
                    self._store.delete(path)
        except Exception as error:  # no part of the training: the script makes the model as well
            self._console.event("description failed", None, reason=f"{type(error).__name__}: {error}")


def described(call: int, job: Job) -> dict[str, Any]:
    """The model of a call, in JSON types."""
    model, code = None, None
    try:
        model = job.model.to_json()
    except Exception as error:  # its call() is code, or a layer's config cannot be written
        code = f"{type(job.model).__name__} {job.model.name!r}: {error}"
    plan = job.program.plan(Kind.TRAIN)
    return {
        "call": call,
        "model": model,
        "code": code,
        "beside": _beside(job.model),
        "pictures": getattr(job.model, "trained_pictures", None),
        "class_names": _class_names(job),
        "epochs": job.program.epochs,
        "steps_per_epoch": plan.known_steps,
        "batch_size": int(plan.batch_size),
    }


def _beside(model: Any) -> list[str]:
    """The layers that keep more than their weights: only files of the model hold that."""
    try:
        return kept_beside(list(model.modules())) + [name for name, _ in asset_members(model)]
    except Exception as error:  # code of the script's own
        return [f"a layer whose save_own_variables or save_assets raised {type(error).__name__}"]


def sampled(job: Job, at_most: int) -> dict[str, torch.Tensor]:
    """Inputs and labels from all over the validation data, or the training data where there are none; no more than 4 MiB."""
    kind = Kind.VALIDATE if Kind.VALIDATE in job.sources else Kind.TRAIN
    source, plan = job.sources[kind], job.program.plan(kind)
    x, y, _ = job.example
    size = sum(leaf[:1].nbytes for leaf in _named(x, "x").values()) or 1
    if isinstance(source, StreamedSource):
        return {}
    available = len(source) if isinstance(plan, StreamPlan) else plan.samples
    count = min(at_most, available, _MAX_SAMPLES_BYTES // size)
    if count < 1:
        return {}
    spread = np.unique(np.linspace(0, available - 1, count).astype(np.int64))
    if isinstance(source, BatchesSource):  # one that comes in batches gives rows of one batch
        spread = np.arange(min(count, source.batch_size))
    with kept_generators():
        x, y, _ = source.fetch(spread, 0)
    found = _named(x, "x") | ({"y": y} if isinstance(y, torch.Tensor) else {})
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in found.items()}


def _named(x: Any, name: str) -> dict[str, torch.Tensor]:
    """Tensors by name; text is left out, which no viewer shows."""
    if isinstance(x, torch.Tensor):
        return {} if is_text(x) else {name: x}
    listed = isinstance(x, list | tuple) and not isinstance(x, PackedSequence)
    parts = x.items() if isinstance(x, Mapping) else enumerate(x) if listed else ()
    return {f"{name}/{key}": value for key, value in parts if isinstance(value, torch.Tensor) and not is_text(value)}


def _class_names(job: Job) -> list[str] | None:
    """As torchvision's datasets have them."""
    for source in job.sources.values():
        dataset = getattr(getattr(source, "source", source), "dataset", None)
        names = getattr(dataset, "classes", None)
        if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
            return list(names)
    return None
