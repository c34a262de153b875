"""This worker's part of a checkpoint: a copy at the step boundary, then bytes to storage on a thread beside the training."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import torch

from disttrain.checkpoint import (
    Arena,
    CommitName,
    ShardReport,
    Store,
    load,
    save_folder,
    shard_path,
    split,
    write_shard_insistently,
)
from disttrain.checkpoint.access import tell
from disttrain.checkpoint.layout import commit_path
from disttrain.checkpoint.trouble import answering
from disttrain.clock import Clock, SystemClock
from disttrain.elastic.device_snapshot import arena_for, device_snapshot
from disttrain.elastic.messages import STILL_WRITING, ShardWritten, SnapshotTaken
from disttrain.elastic.state_copy import Copied, StateCopier
from disttrain.training.device_memory import read_memory
from disttrain.training.step.named_arrays import as_tensor, spec_of
from disttrain.training.step.replica import Replica, StateDict
from disttrain.training.step.state_digest import StateDigest, digest_of


def state_digest(state: StateDict) -> StateDigest:
    """That of the state as it is now."""
    return digest_of(state.tensors, state.meta)


_PATIENCE_S = 0.5  # a save that is due waits so long, from its beginning, for the one before; then it is put off
_LIMIT_S, _SLOWEST_BYTES_A_S = 300.0, 4e6  # so long may storage take for a part, and for each byte of it beside; then it hangs


@dataclass(slots=True)
class _Part:
    """A part that is being written, since when, and for how long at most."""

    thread: threading.Thread
    about: dict[str, Any]
    began: float
    limit_s: float

    @property
    def unwritten(self) -> bool:
        return self.thread.is_alive()


class ShardWriter:
    """Writes parts of saves into, and loads from, one run directory. One is under way at a time.

    Training asks `writes` first, and puts a save off while the one before is being written: it does not wait for storage. A save that must
    be, such as that of the last step, waits for the one before, and what an object store refuses is tried again for it.

    A part that storage has not taken within its limit is given up: its thread is left alone, with the memory that it writes from, and the
    next part gets others. A second one is not given up while that thread still hangs, so that memory stays bounded.
    """

    def __init__(
        self, run_dir: str, worker: str, report: Callable[[object], None], clock: Clock | None = None,
        during: Callable[[str], AbstractContextManager[None]] | None = None, access: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        tell(run_dir, access or {})
        self._store = Store(run_dir)
        self._during = during or (lambda _: nullcontext())
        self._worker, self._report, self._clock = worker, report, clock or SystemClock()
        self._copier = StateCopier()
        self._arena: Arena | None = None
        self._writing: _Part | None = None
        self._hung: _Part | None = None  # given up, and perhaps still there
        self._before: deque[tuple[str, ShardReport]] = deque(maxlen=2)  # the newest parts that were written, and of which saves

    def save(
        self, replica: Replica, rank: int, size: int, *, call: int, generation: int, attempt: int, sequence: int, audits: int = 0,
        must: bool = True, insist: bool = False,
    ) -> None:  # fmt: skip
        """Copy this rank's share of the state and write it in the background; `ShardWritten` follows, from rank 0 first `SnapshotTaken`.

        Args:
            must: wait for a predecessor that is still being written. Without it, this part is given up then, after a short while.
            insist: what an object store refuses is tried again: there will be no later save.
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
        if self.writes(wait=not must) and not (must and self._ends()):
            self._report(ShardWritten(**place, step=replica.optimizer.calls, report=None, error=STILL_WRITING))
            return
        state = replica.state_dict()
        with self._during("copying"):
            copied = self._copied(state, rank, size, replica.device)
        limit_s = _LIMIT_S + copied.snapshot.data.nbytes / _SLOWEST_BYTES_A_S
        step = replica.optimizer.calls
        # Every rank names the folder alone, so the nonce is a function of what all know; a generation never comes twice.
        nonce = blake2b(f"{attempt}.{call}.{generation}.{replica.tick}".encode(), digest_size=8).hexdigest()
        name = CommitName(attempt, sequence, step)
        folder = save_folder(name, nonce)
        path = shard_path(folder, rank, size + 1)  # the last place is the driver's, for arrays that callbacks keep
        about = {
            **place,
            "step": step,
            "audits": audits,
        }
        if rank == 0:
            about |= {"meta": dict(state.meta), "specs": copied.specs, "sequence": sequence, "folder": folder}
            self._report(SnapshotTaken(self._worker, call, replica.tick, limit_s))
        about["stall_seconds"] = self._clock.monotonic_s() - began
        until = began + limit_s if insist else began
        thread = threading.Thread(target=self._write, args=(name, path, copied, about, began, until), name="checkpoint-writer", daemon=True)
        self._writing = _Part(thread, {**place, "step": step}, began, limit_s)
        thread.start()

    def writes(self, *, wait: bool = False) -> bool:
        """Is a part being written? With `wait`, and if it was begun a moment ago, a short while is given to it."""
        part = self._writing
        if part is None or not part.unwritten:
            return False
        now = self._clock.monotonic_s()
        if wait:
            part.thread.join(max(0.0, part.began + _PATIENCE_S - now))
        return part.unwritten and not (now - part.began > part.limit_s and self._gives_up(part))

    def _ends(self) -> bool:
        """Wait for what is being written; False where it hangs, and one before it too."""
        part = self._writing
        if part is not None:
            part.thread.join(max(0.0, part.began + part.limit_s - self._clock.monotonic_s()))
        return part is None or not part.unwritten or self._gives_up(part)

    def _gives_up(self, part: _Part) -> bool:
        """Leave a part that storage does not take to its thread, unless one is left so already."""
        if self._hung is not None and self._hung.unwritten:
            return False
        self._hung, self._writing = part, None
        self._copier, self._arena = StateCopier(), None  # that thread reads from the old ones
        self._report(ShardWritten(**part.about, report=None, error=f"storage has not taken it within {part.limit_s:.0f} s"))
        return True

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
        memory = read_memory(device)
        free = 0 if memory is None else memory.free
        shot, arrived = device_snapshot(state.tensors, specs, split(specs.values(), size)[rank], self._arena, free=free)
        return Copied(shot, list(specs.values()), state_digest(state), arrived=arrived)

    def _committed_before(self) -> ShardReport | None:
        """The last part but one, if its save is committed: its bytes stay, and what has not changed lies there already.

        Not the last one: two checkpoints in a row must not need the same bytes, or one that goes bad costs both.
        """
        if len(self._before) < 2:
            return None
        name, report = self._before[0]
        return report if self._store.exists(commit_path(name)) else None

    def _write(self, name: CommitName, path: str, copied: Copied, about: dict[str, Any], began: float, until: float) -> None:
        try:
            with copied.snapshot as shot:
                copied.arrived()
                digest = copied.digest()
                about["digest"] = digest if about["rank"] == 0 else digest.unnamed
                report = write_shard_insistently(self._store, path, shot, until, self._clock, before=self._committed_before())
        except Exception as error:  # a save that fails is abandoned, training goes on; the driver says so
            self._report(ShardWritten(**about, report=None, error=f"{type(error).__name__}: {error}"))
        else:
            self._before.append((str(name), report))
            self._report(ShardWritten(**about, report=report, seconds=self._clock.monotonic_s() - began))
