"""This worker's part of a checkpoint: a copy at the step boundary, then bytes to storage on a thread beside the training."""

from __future__ import annotations

import threading
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import torch

from disttrain.checkpoint import (
    Arena,
    CommitName,
    Store,
    load,
    save_folder,
    shard_path,
    split,
    write_shard,
)
from disttrain.checkpoint.trouble import answering
from disttrain.clock import Clock, SystemClock
from disttrain.elastic.device_snapshot import arena_for, device_snapshot
from disttrain.elastic.messages import STILL_WRITING, ShardWritten, SnapshotTaken
from disttrain.elastic.state_copy import Copied, StateCopier
from disttrain.training.step.named_arrays import as_tensor, spec_of
from disttrain.training.step.replica import Replica, StateDict
from disttrain.training.step.state_digest import StateDigest, digest_of


def state_digest(state: StateDict) -> StateDigest:
    """That of the state as it is now."""
    return digest_of(state.tensors, state.meta)


_PATIENCE_S = 0.5  # a save that is due waits so long, from its beginning, for the one before; then it is put off


class ShardWriter:
    """Writes parts of saves into, and loads from, one run directory. One is under way at a time.

    Training asks `writes` first, and puts a save off while the one before is being written: it does not wait for storage. A save that must
    be, such as that of the last step, waits for the one before.
    """

    def __init__(self, run_dir: str, worker: str, report: Callable[[object], None], clock: Clock | None = None) -> None:
        self._store = Store(run_dir)
        self._worker, self._report, self._clock = worker, report, clock or SystemClock()
        self._copier = StateCopier()
        self._arena: Arena | None = None
        self._writing: threading.Thread | None = None
        self._began = 0.0

    def save(
        self, replica: Replica, rank: int, size: int, *, call: int, generation: int, attempt: int, sequence: int, audits: int = 0,
        must: bool = True,
    ) -> None:  # fmt: skip
        """Copy this rank's share of the state and write it in the background; `ShardWritten` follows, from rank 0 first `SnapshotTaken`.

        Without `must`, a part whose predecessor is still being written is given up after a short while: storage holds nobody up.
        """
        began = self._clock.monotonic_s()
        place: dict[str, Any] = {
            "worker": self._worker,
            "call": call,
            "generation": generation,
            "tick": replica.tick,
            "rank": rank,
            "size": size,
        }
        if not must and self.writes(wait=True):
            self._report(ShardWritten(**place, step=replica.optimizer.calls, report=None, error=STILL_WRITING))
            return
        if self._writing is not None:
            self._writing.join()
        state = replica.state_dict()
        copied = self._copied(state, rank, size, replica.device)
        step = replica.optimizer.calls
        # Every rank names the folder alone, so the nonce is a function of what all know; a generation never comes twice.
        nonce = blake2b(f"{attempt}.{call}.{generation}.{replica.tick}".encode(), digest_size=8).hexdigest()
        folder = save_folder(CommitName(attempt, sequence, step), nonce)
        path = shard_path(folder, rank, size + 1)  # the last place is the driver's, for arrays that callbacks keep
        about = {
            **place,
            "step": step,
            "audits": audits,
        }
        if rank == 0:
            about |= {"meta": dict(state.meta), "specs": copied.specs, "sequence": sequence, "folder": folder}
            self._report(SnapshotTaken(self._worker, call, replica.tick))
        about["stall_seconds"] = self._clock.monotonic_s() - began
        self._began = began
        self._writing = threading.Thread(target=self._write, args=(path, copied, about, began), name="checkpoint-writer", daemon=True)
        self._writing.start()

    def writes(self, *, wait: bool = False) -> bool:
        """Is a part being written? With `wait`, and if it was begun a moment ago, a short while is given to it."""
        if self._writing is None or not self._writing.is_alive():
            return False
        if wait:
            self._writing.join(max(0.0, self._began + _PATIENCE_S - self._clock.monotonic_s()))
        return self._writing.is_alive()

    def load(self, name: str) -> StateDict:
        """The state in a committed checkpoint, every byte checked."""
        with answering(self._store.url):
            loaded = load(self._store, name)
        tensors = {key: as_tensor(array) for key, array in loaded.arrays.items() if not key.startswith("callbacks/")}
        return StateDict(tensors, loaded.manifest.extra["meta"])

    def _copied(self, state: StateDict, rank: int, size: int, device: torch.device) -> Copied:
        if device.type == "cpu":
            return self._copier.copy(state, rank, size)
        specs = {name: spec_of(name, tensor) for name, tensor in state.tensors.items()}
        self._arena = self._arena or arena_for(device)
        shot = device_snapshot(state.tensors, specs, split(specs.values(), size)[rank], self._arena)
        return Copied(shot, list(specs.values()), state_digest(state))

    def _write(self, path: str, copied: Copied, about: dict[str, Any], began: float) -> None:
        try:
            with copied.snapshot as shot:
                digest = copied.digest()
                about["digest"] = digest if about["rank"] == 0 else digest.unnamed
                report = write_shard(self._store, path, shot)
        except Exception as error:  # a save that fails is abandoned, training goes on; the driver says so
            self._report(ShardWritten(**about, report=None, error=f"{type(error).__name__}: {error}"))
        else:
            self._report(ShardWritten(**about, report=report, seconds=self._clock.monotonic_s() - began))
