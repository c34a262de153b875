"""Full checkpoints of a fit in one process: all that it needs to go on, in the form in which a launch keeps them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from disttrain.callbacks.progress_bar import note
from disttrain.checkpoint import (
    Arena,
    Attempt,
    CommitName,
    NamedArray,
    ShardReport,
    Store,
    commit,
    end_attempt,
    list_checkpoints,
    new_save_nonce,
    plan_deletions,
    read_history,
    record_resume,
    references,
    save_folder,
    shard_path,
    snapshot,
    split,
    start_attempt,
    sweep,
    write_shard,
)
from disttrain.checkpoint.layout import DATA, commit_path
from disttrain.clock import Clock, SystemClock
from disttrain.data import StreamPlan
from disttrain.data.stream_state import from_json, to_json
from disttrain.errors import DataError, UsageError
from disttrain.training.hooks import FitHooks
from disttrain.training.program import Kind
from disttrain.training.step.engine import Engine
from disttrain.training.step.named_arrays import named_array
from disttrain.training.step.replica import StateDict


@dataclass(frozen=True)
class GoingOn:
    """A checkpoint that a fit goes on from; `arrays` are those of callbacks, by the names that they gave."""

    name: str
    store: Store
    state: StateDict
    extra: Mapping[str, Any]
    arrays: dict[str, np.ndarray]


@dataclass(frozen=True)
class Keeping:
    """What a fit must know of itself to keep checkpoints: what belongs to it, in JSON types, and where it goes on."""

    identity: dict[str, Any]
    going_on: GoingOn | None = None


@dataclass
class _Folder:
    """Where some of the checkpoints go."""

    store: Store
    attempt: Attempt
    sequence: int = 0
    before: deque[tuple[str, ShardReport]] = field(default_factory=lambda: deque(maxlen=2))  # as in `elastic.shard_writer`
    arena: Arena = field(default_factory=Arena)


class Keeper:
    """Keeps checkpoints of one fit where callbacks ask for it, and brings it to where another stood.

    What is asked for in a hook is written once the hooks of that boundary are through: the state in it is one that a fit goes on from.
    Training waits for that.
    """

    def __init__(self, engine: Engine, hooks: FitHooks, keeping: Keeping, clock: Clock | None = None) -> None:
        self._engine, self._hooks, self._keeping, self._clock = engine, hooks, keeping, clock or SystemClock()
        self._asked: dict[str, int] = {}
        self._folders: dict[str, _Folder] = {}

    # -- going on -------------------------------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Put the state of the checkpoint in place."""
        going_on, engine = self._keeping.going_on, self._engine
        assert going_on is not None
        engine.hold()
        engine.rearrange(going_on.state.meta["frozen"])
        engine.replica.load_state_dict(going_on.state)
        stream = self._stream()
        place = engine.program.next_step(engine.tick)
        if stream is not None and place is not None:
            known = going_on.extra.get("data", {}).get(Kind.TRAIN.value)
            if known is None:
                raise DataError(f"{going_on.name} does not say where {stream.reader.stream.name} stood: expected a checkpoint of this fit.")
            stream.reader.note_mark(*place, from_json(known))

    # -- keeping --------------------------------------------------------------------------------------------------------------------

    def ask(self, folder: str, keep: int) -> None:
        """Keep a checkpoint there, as of the end of the hooks that run now."""
        self._asked[folder] = keep

    def after_epoch(self) -> None:
        """Before the hooks of the end, or of the next epoch: the state is that of the boundary, one tick on."""
        self._engine.hold()
        self._engine.rearrange(self._hooks.trainability.frozen())
        position = self._engine.position
        stops = bool(self._hooks.model.stop_training)
        self._keep(position.tick + 1, {**self._hooks.state(), "handled": position.tick, "ended": stops, "stops": False})

    def between_ticks(self) -> None:
        """The state as it is."""
        self._keep(self._engine.tick, self._hooks.state())

    def close(self, *, failed: bool) -> None:
        """The fit is over."""
        for folder in self._folders.values():
            end_attempt(folder.store, folder.attempt, "failed" if failed else "finished")

    def _keep(self, tick: int, hooks: dict[str, Any]) -> None:
        asked, self._asked = self._asked, {}
        for url, keep in asked.items():
            self._save(self._folder(url), keep, tick, hooks)

    def _save(self, folder: _Folder, keep: int, tick: int, hooks: dict[str, Any]) -> None:
        engine, state = self._engine, self._engine.replica.state_dict()
        arrays = {name: named_array(tensor.detach()) for name, tensor in state.tensors.items()}
        arrays |= {f"callbacks/{name}": NamedArray.from_numpy(array) for name, array in self._hooks.arrays().items()}
        specs = [array.spec(name) for name, array in arrays.items()]
        folder.sequence += 1
        name = CommitName(folder.attempt.number, folder.sequence, engine.replica.optimizer.calls)
        extra = {
            "call": engine.job.call, "kind": "fit", "tick": tick, "meta": {**state.meta, "tick": tick}, "hooks": hooks,
            "virtual_workers": engine.job.virtual_workers, "seed": engine.job.seed, "identity": self._keeping.identity, "audited": False,
            "digests": {}, "data": self._marks(tick), "saved": round(self._clock.wall_s(), 3),
        }  # fmt: skip
        known = folder.before[0][1] if len(folder.before) == 2 and folder.store.exists(commit_path(folder.before[0][0])) else None
        with snapshot(arrays, split(specs, 1)[0], folder.arena) as shot:
            report = write_shard(folder.store, shard_path(save_folder(name, new_save_nonce()), 0, 1), shot, known)
        commit(folder.store, folder.attempt, name.sequence, name.step, [report], specs, extra)
        folder.before.append((str(name), report))
        names = [info.name for info in list_checkpoints(folder.store)]
        plan = plan_deletions(
            read_history(folder.store, names), names, folder.store.list(DATA), attempt=folder.attempt.number, keep=keep,
            refers=references(folder.store, names),
        )  # fmt: skip
        sweep(folder.store, folder.attempt, plan)

    def _folder(self, url: str) -> _Folder:
        """The folder of checkpoints, opened at the first one: this process writes there from now on."""
        if url not in self._folders:
            store, going_on = Store(url), self._keeping.going_on
            if store.exists("run.json"):
                raise UsageError(
                    f"{url} is the run directory of a launch: expected a folder of its own.\n"
                    f"  try       another path; model.fit(..., resume_from={url!r}) goes on from what the launch has kept"
                )
            store.probe()
            continues = going_on is not None and (store.url, store.root) == (going_on.store.url, going_on.store.root)
            before = list_checkpoints(store)
            attempt = start_attempt(store, {"pid": os.getpid()}, fresh=not continues)
            attempt = record_resume(store, attempt, going_on.name if going_on is not None and continues else None)
            if before and not continues:
                note(
                    f"[disttrain] {url} holds checkpoints of an earlier training, the newest of step {before[0].step}: this one begins "
                    f"anew, and takes their place; model.fit(..., resume_from={url!r}) goes on from them"
                )
            self._folders[url] = _Folder(store, attempt)
        return self._folders[url]

    # -- data -----------------------------------------------------------------------------------------------------------------------

    def _stream(self) -> StreamPlan | None:
        plan = self._engine.program.plan(Kind.TRAIN)
        return plan if isinstance(plan, StreamPlan) else None

    def _marks(self, tick: int) -> dict[str, Any]:
        stream, place = self._stream(), self._engine.program.next_step(tick)
        if stream is None or place is None:
            return {}
        mark = stream.reader.mark(*place)
        if mark is None:
            raise DataError(
                f"where {stream.reader.stream.name} stands is not known, so no fit could go on from this checkpoint.\n"
                "  expected  data that can be begun again: a generator function, or an object whose __iter__ begins anew\n"
                "  try       ModelCheckpoint with a path ending in .keras, which keeps the model alone"
            )
        return {Kind.TRAIN.value: to_json(mark)}
