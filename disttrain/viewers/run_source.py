"""A running or finished run: its model as its first fit described it, its weights from committed checkpoints. Only read."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from collections import OrderedDict
from typing import Any

import torch

from disttrain.checkpoint import NamedArray, Store, list_checkpoints, load, read_attempts, read_history
from disttrain.errors import CheckpointError, DisttrainError, UsageError
from disttrain.models import model_from_json
from disttrain.models.saving.run_description import Described, described_calls, read_description
from disttrain.parsing import parsed_object
from disttrain.training.step.named_arrays import as_tensor
from disttrain.viewers.copying import copied
from disttrain.viewers.refusal import Refusal
from disttrain.viewers.samples import Samples, read_samples

_POLL_SECONDS = 1.0  # however many tabs ask
_SILENT_SECONDS = 60.0  # a driver on another machine that says nothing for so long is lost
_MODELS_KEPT = 3
_MAX_SAMPLES_BYTES = 64 << 20
_MAX_STATUS_BYTES = 4 << 20
_SAMPLES = re.compile(r"(\d{6,})\.safetensors", re.ASCII)
_RUNNING = ("running", "starting")


def holds_run(url: str) -> bool:
    """Has a driver ever been started there?"""
    try:
        store = Store(url)
        return bool(store.list("attempts") or list_checkpoints(store))
    except NotADirectoryError:
        raise UsageError(f"{url} is a file, and no saved model.\n  expected  a .keras file or a run directory") from None
    except (ValueError, ImportError, OSError) as error:
        raise UsageError(f"{url} cannot be read: {error}") from None


class RunSource:
    """The models of a run.

    Args:
        url: the run directory.
        model: the model as code; a copy of it is shown. None: the one that the run described.

    Raises:
        UsageError: the run did not describe its model, and none is given.
    """

    kind = "run"

    def __init__(self, url: str, model: Any = None) -> None:
        self.location = url
        self._store = Store(url)
        self._given = _copied(model) if model is not None else None
        self._skeletons = _read_skeletons(self._store)
        if self._given is None and not any(skeleton.model_json for skeleton in self._skeletons):
            raise UsageError(
                f"{url} does not describe its model: it is a class with a call() of its own, or its first fit has not begun.\n"
                "  expected  layers that are known without the script\n"
                f"  try       server.launch(model, run={url!r}) with the model of the script"
            )
        self._bases: dict[int, Any] = {}
        self._lock = threading.Lock()
        self._models: OrderedDict[str, Any] = OrderedDict()
        self._known: dict[str, Any] = {}
        self._looked_at = -_POLL_SECONDS
        self._last_word: tuple[Any, float] = (None, 0.0)
        newest = self._skeletons[-1] if self._skeletons else None
        self.classes = newest.classes if newest else None
        self.samples, self._about_samples = self._read_samples()
        if self._given is not None and not self._given.built:
            _build(self._given, self.samples)

    # -- what there is --------------------------------------------------------------------------------------------------------------

    def skeleton(self) -> Any:
        """The model of the newest call, with weights of no meaning."""
        return self._base(None)

    def checkpoints(self) -> dict[str, Any]:
        """Those of the run's valid history, oldest first; storage is asked at most once a second."""
        with self._lock:
            if time.monotonic() - self._looked_at >= _POLL_SECONDS:
                try:
                    self._known = self._look()
                except (OSError, DisttrainError) as error:
                    self._known = {"live": False, "state": None, "checkpoints": [], **self._known, "message": f"{self.location}: {error}"}
                self._looked_at = time.monotonic()
            return self._known

    def resolve(self, checkpoint: str | None) -> tuple[str, str]:
        """Its name, which is its version too: a committed checkpoint never changes."""
        known = self.checkpoints()
        names = [entry["name"] for entry in known["checkpoints"]]
        if not names:
            raise Refusal(409, known["message"] or "waiting for the first checkpoint")
        if checkpoint is None:
            return names[-1], names[-1]
        if checkpoint not in names:
            raise Refusal(404, f"checkpoint {checkpoint[:80]!r} is not there, or not any more: {len(names)} are, the newest is {names[-1]}")
        return checkpoint, checkpoint

    def _look(self) -> dict[str, Any]:
        valid = set(read_history(self._store))
        steps = {skeleton.steps_per_epoch for skeleton in self._skeletons}
        per_epoch = steps.pop() if len(steps) == 1 else None  # fits of different lengths: steps alone
        found = [
            {"name": info.name, "step": info.step, "epoch": info.step // per_epoch if per_epoch else None, "attempt": info.attempt}
            for info in reversed(list_checkpoints(self._store))
            if info.name in valid
        ]
        state = self._state()
        message = self._about_samples
        if not found:
            message = "waiting for the first checkpoint" if state in _RUNNING else "the run has no checkpoint"
        return {"live": state in _RUNNING, "state": state, "checkpoints": found, "message": message}

    def _state(self) -> str:
        """ "running", "starting", "lost", or how the newest attempt ended."""
        attempts = read_attempts(self._store)
        if not attempts:
            return "starting"
        newest = attempts[-1]
        if newest.outcome is not None:
            return str(newest.outcome)
        if newest.info.get("host") == socket.gethostname() and not _may_live(newest.info):
            return "lost"
        try:
            status = parsed_object(self._store.read("status.json", stop=_MAX_STATUS_BYTES))
        except (FileNotFoundError, ValueError):
            return "starting"
        if status.get("attempt") != newest.number:
            return "starting"
        word = (newest.number, status.get("beat"))
        if word != self._last_word[0]:
            self._last_word = (word, time.monotonic())
        if newest.info.get("host") != socket.gethostname() and time.monotonic() - self._last_word[1] > _SILENT_SECONDS:
            return "lost"
        return str(status.get("state", "running"))

    # -- models ---------------------------------------------------------------------------------------------------------------------

    def model(self, name: str, example: Any) -> Any:
        """A model with the weights of a checkpoint; the newest three are kept."""
        if name in self._models:
            self._models.move_to_end(name)
            return self._models[name]
        try:
            loaded = load(self._store, name, prefix="model/")
        except CheckpointError as error:
            self._looked_at = -_POLL_SECONDS  # retention may have deleted it: look again
            raise Refusal(409, f"checkpoint {name} cannot be read: {error}") from None
        except (OSError, DisttrainError) as error:
            raise Refusal(503, f"{self.location} cannot be read: {error}") from None
        call = loaded.manifest.extra.get("call")
        model = _copied(self._base(call if isinstance(call, int) else None))
        if not model.built and example is not None:
            with torch.no_grad():
                model(example)
        _put_weights(model, {key.removeprefix("model/"): array for key, array in loaded.arrays.items()}, name)
        self._models[name] = model
        while len(self._models) > _MODELS_KEPT:
            self._models.popitem(last=False)
        return model

    def _base(self, call: int | None) -> Any:
        if self._given is not None:
            return self._given
        known = [skeleton for skeleton in self._skeletons if skeleton.model_json]
        if call is not None and known[-1].call < call:
            self._skeletons = _read_skeletons(self._store) or self._skeletons  # a fit that began since
            known = [skeleton for skeleton in self._skeletons if skeleton.model_json] or known
        skeleton = ([skeleton for skeleton in known if call is None or skeleton.call <= call] or known)[-1]
        if skeleton.call not in self._bases:
            self._bases[skeleton.call] = _made(skeleton, self.location)
        return self._bases[skeleton.call]

    def _read_samples(self) -> tuple[Samples, str | None]:
        """The newest samples, or why there are none. A run without them is shown all the same."""
        try:
            files = sorted(filter(_SAMPLES.fullmatch, self._store.list("model")))
            if not files:
                return Samples(), None
            data = self._store.read(f"model/{files[-1]}", stop=_MAX_SAMPLES_BYTES)
            names = [tensor.node.layer.name for tensor in self._base(None).inputs if tensor.node] if _has_ends(self._base(None)) else []
            return read_samples(data, names), None
        except FileNotFoundError:
            return Samples(), None
        except (ValueError, OSError) as error:
            return Samples(), f"samples of the run: {error}"


def _read_skeletons(store: Store) -> list[Described]:
    """What the run wrote about its models, by call; what is damaged is left out."""
    found = []
    for call in described_calls(store):
        with contextlib.suppress(CheckpointError):
            found.append(read_description(store, call))
    return [skeleton for skeleton in found if skeleton is not None]


def _made(skeleton: Described, url: str) -> Any:
    try:
        return model_from_json(str(skeleton.model_json))
    except ValueError as error:
        raise UsageError(
            f"{url}: the model of its call {skeleton.call} cannot be made without the script: {error}\n"
            f"  try       server.launch(model, run={url!r}) with the model of the script"
        ) from None


def _build(model: Any, samples: Samples) -> None:
    """Build a model of code by calling it on a sample; where that fails, the first input that is looked at does it."""
    if not samples.count:
        return
    first = {name: torch.from_numpy(array[:1].copy()) for name, array in samples.x.items()}
    first = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in first.items()}
    given: Any = first if samples.keyed else list(first.values())
    with contextlib.suppress(Exception), torch.no_grad():
        model(given[0] if samples.keyed is None else given)


def _copied(model: Any) -> Any:
    try:
        return copied(model)
    except Exception as error:  # a model may hold anything
        raise UsageError(f"launch: {type(model).__name__} cannot be copied, so it cannot hold a checkpoint's weights: {error}") from error


def _put_weights(model: Any, arrays: dict[str, NamedArray], checkpoint: str) -> None:
    """Raises Refusal where the checkpoint is another model's. States that have a row for each sample are left alone."""
    rows = {id(module._buffers[name]) for module in model.modules() for name in getattr(module, "_row_states", ())}
    weights = {name: tensor for name, tensor in model.named_weights() if id(tensor) not in rows}
    missing = [name for name in weights if name not in arrays]
    wrong = [name for name, tensor in weights.items() if name in arrays and tuple(tensor.shape) != arrays[name].shape]
    if missing or wrong or not weights:
        if not weights:
            why = "the model has no weights: build it, or call it on data, before launch"
        elif missing:
            why = f"it has no {missing[0]!r}"
        else:
            why = f"{wrong[0]!r} has shape {arrays[wrong[0]].shape}, the model's has {tuple(weights[wrong[0]].shape)}"
        raise Refusal(409, f"the weights of checkpoint {checkpoint} do not fit the model: {why}")
    with torch.no_grad():
        for name, tensor in weights.items():
            tensor.copy_(as_tensor(arrays[name]))


def _has_ends(model: Any) -> bool:
    try:
        return bool(model.inputs)
    except (ValueError, NotImplementedError):
        return False


def _may_live(info: dict[str, Any]) -> bool:
    """May the process of an attempt on this machine be alive?"""
    try:
        os.kill(int(info["pid"]), 0)
    except (ProcessLookupError, KeyError, ValueError, TypeError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
