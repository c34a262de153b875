"""Run directories for tests of the viewer: a described model, its samples, committed checkpoints. As launch writes them."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import numpy as np
from safetensors.numpy import save

from disttrain.checkpoint import (
    Arena,
    Attempt,
    CommitName,
    NamedArray,
    Store,
    commit,
    end_attempt,
    new_save_nonce,
    record_resume,
    save_folder,
    shard_path,
    snapshot,
    split,
    start_attempt,
    write_shard,
)
from disttrain.checkpoint.records import record
from disttrain.models.saving.run_description import FORM, description_path
from disttrain.training.step.named_arrays import named_array


class WrittenRun:
    """A run whose driver is this process, until `end`."""

    def __init__(self, url: str) -> None:
        self.store = Store(url)
        info = {"host": socket.gethostname(), "pid": os.getpid()}
        self.attempt: Attempt = record_resume(self.store, start_attempt(self.store, info, True), None)
        self._saves = 0

    def status(self, state: str = "running", **more: Any) -> None:
        """Write status.json."""
        self.store.put("status.json", json.dumps({"attempt": self.attempt.number, "state": state, **more}).encode())

    def describe(
        self, model: Any, *, call: int = 1, classes: list[str] | None = None, samples: dict[str, np.ndarray] | None = None
    ) -> None:
        """Write the skeleton of a call; without a model, that of one whose call is code."""
        self.write_description(call, model=None if model is None else model.to_json(), class_names=classes)
        if samples is not None:
            self.store.put(f"model/{call:06d}.safetensors", save(samples))

    def write_description(self, call: int, **fields: Any) -> None:
        """The sealed record of a call's model, with these fields."""
        body = {
            "call": call,
            "model": None,
            "code": None,
            "beside": [],
            "class_names": None,
            "pictures": None,
            "epochs": 3,
            "steps_per_epoch": 10,
            **fields,
        }
        self.store.put(description_path(call), record(FORM, body))

    def save(self, model: Any, step: int, call: int = 1) -> str:
        """Commit the weights of a model, with a slot of an optimizer beside them; gives the name."""
        self._saves += 1
        arrays = {f"model/{name}": named_array(tensor.detach()) for name, tensor in model.named_weights()}
        arrays["optimizer/slot"] = NamedArray.from_numpy(np.zeros(1000))
        specs = [array.spec(name) for name, array in arrays.items()]
        nonce = new_save_nonce()[:16]
        folder = save_folder(CommitName(self.attempt.number, self._saves, step), nonce)
        with snapshot(arrays, split(specs, 1)[0], Arena()) as shot:
            report = write_shard(self.store, shard_path(folder, 0, 1), shot)
        return commit(self.store, self.attempt, self._saves, step, [report], specs, {"call": call, "tick": step, "meta": {}}).name

    def end(self, outcome: str = "finished") -> None:
        """Say how it ended."""
        self.attempt = end_attempt(self.store, self.attempt, outcome)
