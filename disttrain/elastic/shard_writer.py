"""This worker's part of a checkpoint: a copy at the step boundary, then bytes to storage on a thread beside the training."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.checkpoint import (
    Arena,
    CommitName,
    NamedArray,
    Piece,
    Snapshot,
    Store,
    TensorSpec,
    load,
    save_folder,
    shard_path,
    snapshot,
    split,
    write_shard,
)
from disttrain.checkpoint.trouble import answering
from disttrain.clock import Clock, SystemClock
from disttrain.elastic.device_snapshot import arena_for, device_snapshot
from disttrain.elastic.messages import ShardWritten, SnapshotTaken
from disttrain.training.device_memory import read_memory
from disttrain.training.step.replica import Replica, StateDict
from disttrain.training.step.state_digest import StateDigest, digest_of

_DTYPES = {
    torch.bfloat16: "BF16",
    torch.bool: "BOOL",
    torch.float16: "F16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.uint8: "U8",
}


Shot = tuple[Snapshot, Callable[[], None]]
"""A snapshot, and what returns once its bytes are there."""


def named_array(tensor: Tensor) -> NamedArray:
    """A tensor as the checkpoint engine takes it; CPU memory is shared, not copied."""
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return NamedArray(_DTYPES[tensor.dtype], tuple(tensor.shape), flat)


def as_tensor(array: NamedArray) -> Tensor:
    """The inverse of `named_array`."""
    dtype = next(dtype for dtype, name in _DTYPES.items() if name == array.dtype)
    data = np.ascontiguousarray(array.data)
    return torch.frombuffer(data, dtype=dtype).reshape(array.shape) if data.size else torch.empty(array.shape, dtype=dtype)


def spec_of(name: str, tensor: Tensor) -> TensorSpec:
    """What the checkpoint engine knows of a tensor before it has its bytes."""
    return TensorSpec(name, _DTYPES[tensor.dtype], tuple(tensor.shape))


def state_digest(state: StateDict) -> StateDigest:
    """That of the state as it is now."""
    return digest_of(state.tensors, state.meta)


class ShardWriter:
    """Committer into, and loads from, one run directory. One save is under way at a time; the next waits for it."""

    def __init__(self, run_dir: str, worker: str, report: Callable[[object], None], clock: Clock | None = None) -> None:
        self._store = Store(run_dir)
        self._worker, self._report, self._clock = worker, report, clock or SystemClock()
        self._arena: Arena | None = None
        self._writing: threading.Thread | None = None

    def save(
        self, replica: Replica, rank: int, size: int, *, call: int, generation: int, attempt: int, sequence: int, audits: int = 0
    ) -> None:  # fmt: skip
        """Copy this rank's share of the state and write it in the background; `ShardWritten` follows, from rank 0 first `SnapshotTaken`."""
        began = self._clock.monotonic_s()
        if self._writing is not None:
            self._writing.join()
        state = replica.state_dict()
        specs = [spec_of(name, tensor) for name, tensor in state.tensors.items()]
        shot, arrived = self._snapshot(state.tensors, specs, split(specs, size)[rank], replica.device)
        digest = state_digest(state)
        step = replica.optimizer.calls
        # Every rank names the folder alone, so the nonce is a function of what all know; a generation never comes twice.
        nonce = blake2b(f"{attempt}.{call}.{generation}.{replica.tick}".encode(), digest_size=8).hexdigest()
        folder = save_folder(CommitName(attempt, sequence, step), nonce)
        path = shard_path(folder, rank, size + 1)  # the last place is the driver's, for arrays that callbacks keep
        about = {
            "worker": self._worker,
            "call": call,
            "generation": generation,
            "tick": replica.tick,
            "rank": rank,
            "size": size,
            "step": step,
            "audits": audits,
            "digest": digest if rank == 0 else digest.unnamed,
        }
        if rank == 0:
            about |= {"meta": dict(state.meta), "specs": specs, "sequence": sequence, "folder": folder}
            self._report(SnapshotTaken(self._worker, call, replica.tick))
        about["stall_seconds"] = self._clock.monotonic_s() - began
        self._writing = threading.Thread(
            target=self._write, args=(path, shot, arrived, about, began), name="checkpoint-writer", daemon=True
        )
        self._writing.start()

    def load(self, name: str) -> StateDict:
        """The state in a committed checkpoint, every byte checked."""
        with answering(self._store.url):
            loaded = load(self._store, name)
        tensors = {key: as_tensor(array) for key, array in loaded.arrays.items() if not key.startswith("callbacks/")}
        return StateDict(tensors, loaded.manifest.extra["meta"])

    def _snapshot(self, tensors: Mapping[str, Tensor], specs: list[TensorSpec], pieces: list[Piece], device: torch.device) -> Shot:
        if self._arena is None:
            self._arena = arena_for(device)
        if device.type != "cpu":
            memory = read_memory(device)
            by_name = {spec.name: spec for spec in specs}
            return device_snapshot(tensors, by_name, pieces, self._arena, free=0 if memory is None else memory.free)
        return snapshot({name: named_array(tensor) for name, tensor in tensors.items()}, pieces, self._arena), lambda: None

    def _write(self, path: str, shot: Snapshot, arrived: Callable[[], None], about: dict[str, Any], began: float) -> None:
        try:
            with shot:
                arrived()
                report = write_shard(self._store, path, shot)
        except Exception as error:  # a save that fails is abandoned, training goes on; the driver says so
            self._report(ShardWritten(**about, report=None, error=f"{type(error).__name__}: {error}"))
        else:
            self._report(ShardWritten(**about, report=report, seconds=self._clock.monotonic_s() - began))
