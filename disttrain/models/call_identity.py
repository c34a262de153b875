"""The identity of a call, made of its job: `call_differences.py` says what of it may change."""

from __future__ import annotations

import hashlib
import json
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.data import StreamPlan
from disttrain.data.shards import ShardSource
from disttrain.data.structure import tensor_paths
from disttrain.layers.layer import Layer
from disttrain.models.call_differences import Identity
from disttrain.models.digest import as_array
from disttrain.models.saving.registry import custom_objects
from disttrain.models.saving.serialize import serialize_object
from disttrain.seeds import fold_in
from disttrain.training.fingerprint import fingerprint
from disttrain.training.job import Job
from disttrain.training.local.runner import kept_generators
from disttrain.training.step.step_owners import optimizers_of

_ROWS = 64  # of arrays in memory, whose digest costs nothing
_DATASET_ROWS = 4  # of a dataset that makes samples when it is asked: an image each, twice
_DEPTH = 8


def call_identity(job: Job) -> Identity:
    """What belongs to a call of fit or evaluate, in JSON types. Looks at few samples, and at no weight's values."""
    model = job.model
    with custom_objects(None), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        identity: Identity = {
            "weights": {name: _described(weight) for name, weight in model.named_weights()},
            "layers": {path: _settings(module) for path, module in model.named_modules() if path and isinstance(module, Layer)},
            "graph": _graph(model),
            "loss": _plain((model._compile_arguments or {}).get("loss")),
            "metrics": _plain([(model._compile_arguments or {}).get(name) for name in ("metrics", "weighted_metrics", "loss_weights")]),
            "optimizers": _optimizers(model) if job.kind == "fit" else {},
        }
    identity |= {
        "class_weight": _plain(job.class_weight),
        "virtual workers": job.virtual_workers,
        "seed": job.seed,
        "determinism": "on" if job.numerics.deterministic else "off",
        "TF32": job.numerics.tf32,
        "batches": fingerprint(job)["phases"],
        "data": {kind.value: _data(job, kind) for kind, _ in job.program.plans},
    }
    if job.kind == "fit":
        identity["epochs"] = job.program.epochs
    normal: Identity = json.loads(json.dumps(identity))  # keys become text, as they will be once read back
    return normal


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _settings(module: Layer) -> Any:
    """The class of a layer and its `get_config()`, without its name; of one that holds others, those speak for themselves."""
    found: dict[str, Any] = {"class": type(module).__name__}
    if hasattr(module, "get_layer"):
        return found
    try:
        config = module.get_config()
    except Exception:  # a layer of the script's own need not have one
        return found
    return found | {str(key): _plain(value) for key, value in config.items() if key != "name"}


def _graph(model: Any) -> str | None:
    """A digest of the whole model's config; None where it is code."""
    try:
        text = json.dumps(serialize_object(model), sort_keys=True)
    except Exception:
        return None
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _optimizers(model: Any) -> dict[str, Any]:

    found = {}
    for attribute, value in optimizers_of(model).items():
        config = {key: _plain(setting) for key, setting in value.get_config().items() if key != "name"}
        found[attribute] = {"class": type(value).__name__, **config}
    return found


def _plain(value: Any, depth: int = 0) -> Any:
    """In JSON types: an object by its class and settings, a function by its name. Never an address or an order that is not kept."""
    if value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, np.generic)):
        return value if not isinstance(value, float) or np.isfinite(value) else repr(value)
    if depth >= _DEPTH:
        return type(value).__name__
    if isinstance(value, np.generic):
        return _plain(value.item(), depth)
    if isinstance(value, np.ndarray | Tensor):
        array = as_array(value)
        return f"{array.dtype} {array.shape} {hashlib.sha256(array.data.tobytes()).hexdigest()[:16]}"
    if isinstance(value, dict):
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    if hasattr(value, "get_config"):
        try:
            config = value.get_config()
        except Exception:
            return type(value).__name__
        return {"class": type(value).__name__, **{str(key): _plain(item, depth + 1) for key, item in config.items() if key != "name"}}
    return str(getattr(value, "__name__", type(value).__name__))


def _data(job: Job, kind: Any) -> dict[str, Any]:
    """The number of samples of a phase, what each is, and a digest of some of them, drawn from the seed."""
    source, plan = job.sources[kind], job.program.plan(kind)
    if isinstance(plan, StreamPlan):
        return _stream(job, kind, plan)
    found: dict[str, Any] = {"samples": plan.samples}
    draws = bool(getattr(source, "draws", False))
    rows = min(_DATASET_ROWS if draws else _ROWS, plan.samples)
    generator = np.random.Generator(np.random.Philox(key=fold_in(job.seed, "identity", plan.samples)))
    chosen = np.sort(generator.choice(plan.samples, rows, replace=False)).astype(np.int64)
    if isinstance(source, ShardSource):  # where rows lie says which they are; others than the first would be read for nothing else
        found["shards"], chosen = source.digest(), np.arange(rows, dtype=np.int64)
    size = getattr(getattr(source, "source", source), "batch_size", None)
    if size is not None:  # of one batch only, see BatchesSource
        chosen = np.arange(min(rows, int(size)))
    try:
        with kept_generators():
            batches = [source.fetch(chosen, job.seed) for _ in range(2 if draws else 1)]
        digests = {_digest(batch) for batch in batches}
    except Exception:  # what a dataset of the script's own does wrong, the workers will say better
        return found
    for name, part in zip(("x", "y", "sample_weight"), batches[0], strict=True):
        for path, leaf in tensor_paths(part, name) if part is not None else ():
            found[path] = f"{str(leaf.dtype).removeprefix('torch.')} {tuple(leaf.shape[1:])}"
    if len(digests) == 1:  # else it reads a clock or a generator of its own: nothing can be said of its values
        found["digest"] = digests.pop()
    return found


def _stream(job: Job, kind: Any, plan: StreamPlan) -> dict[str, Any]:
    """What is read, and what its samples are like; whether they are the same is said by the digest in each checkpoint."""
    found: dict[str, Any] = {"stream": plan.reader.stream.name}
    if kind is job.program.plans[0][0]:
        for name, part in zip(("x", "y", "sample_weight"), job.example, strict=True):
            for path, leaf in tensor_paths(part, name) if part is not None else ():
                found[path] = f"{str(leaf.dtype).removeprefix('torch.')} {leaf.ndim} axes"
    return found


def _digest(batch: Any) -> str:
    total = hashlib.sha256()
    for name, part in zip(("x", "y", "sample_weight"), batch, strict=True):
        for path, leaf in tensor_paths(part, name) if part is not None else ():
            array = as_array(torch.as_tensor(leaf))
            total.update(f"{path} {array.dtype} {array.shape} ".encode())
            total.update(array.data.tobytes())
    return total.hexdigest()[:16]
