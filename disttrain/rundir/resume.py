"""Where a run goes on: the newest checkpoint that is whole, or the one that a person chose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from disttrain.checkpoint import Loaded, Store, load, mark_bad, newest_whole, read_history, verify
from disttrain.checkpoint.history import newest_of_step
from disttrain.checkpoint.messages import explain, some
from disttrain.errors import CheckpointIncomplete
from disttrain.watch import What

_NO_SLOTS = ("model/", "callbacks/", "totals")


@dataclass(frozen=True)
class ResumePoint:
    """A committed checkpoint to go on from, and what the driver wrote beside it.

    Attributes:
        skipped: newer checkpoints that are damaged, by name, and why.
    """

    name: str
    call: int
    tick: int
    extra: dict[str, Any]
    arrays: dict[str, Any]
    store: Store
    skipped: dict[str, str]

    def state(self, what: What) -> dict[str, np.ndarray]:
        """The weights, or the slots of optimizers, by the names of `Engine.arrays`."""
        from disttrain.host_numbers import plain  # late: whoever only looks at a run loads no torch
        from disttrain.training.step.named_arrays import as_tensor

        loaded = load(self.store, self.name, prefix="model/" if what == "weights" else "")
        found = {name: plain(as_tensor(array)) for name, array in loaded.arrays.items()}
        return found if what == "weights" else {name: a for name, a in found.items() if not name.startswith(_NO_SLOTS)}


def arrays_of_callbacks(loaded: Loaded) -> dict[str, np.ndarray]:
    """What callbacks keep in a checkpoint, by the names that they gave."""
    kept = {name: array for name, array in loaded.arrays.items() if name.startswith("callbacks/")}
    return {name.removeprefix("callbacks/"): array.to_numpy() for name, array in kept.items()}


def choose(store: Store, step: int | None = None) -> ResumePoint | None:
    """The checkpoint to go on from, every byte of it read and checked; None where none was committed.

    Damaged ones are passed over, and marked so that nobody tries them first again.

    Args:
        step: optimizer updates; the newest checkpoint of that step, and no other.

    Raises:
        UsageError: there is no checkpoint of that step.
        CheckpointCorrupt, CheckpointIncomplete: the chosen one is damaged, or all are.
    """
    history = read_history(store)
    if step is not None:
        name = newest_of_step(history, step, store.url, " to go on from")
        verify(store, name)
        return _point(store, name, {})
    found = newest_whole(store, history)
    if found is None:
        return None
    for name, reason in found.skipped.items():
        mark_bad(store, name, reason)
    return _point(store, str(found.manifest.name), found.skipped)


def _point(store: Store, name: str, skipped: dict[str, str]) -> ResumePoint:
    loaded = load(store, name, prefix="callbacks/")
    extra = dict(loaded.manifest.extra)
    if not all(type(extra.get(key)) is int for key in ("call", "tick")):
        raise CheckpointIncomplete(
            explain(
                f"{store.url}: {name} is no checkpoint of a launch.",
                expected="the numbers of its call and tick in its manifest",
                found=some(sorted(extra)) or "nothing",
                remedy="another run directory",
            )
        )
    return ResumePoint(name, extra["call"], extra["tick"], extra, arrays_of_callbacks(loaded), store, skipped)
