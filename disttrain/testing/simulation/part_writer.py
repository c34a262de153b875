"""A worker's parts of saves: a copy at the step boundary, then bytes to storage beside the training, one save at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from disttrain.elastic import messages as m
from disttrain.testing.simulation.call import State
from disttrain.testing.simulation.contracts import Writes

_COPY_S = 0.004
_AGAIN_S = 0.2  # how often one that waits for the save before looks again


class PartWriter:
    """As `elastic.shard_writer.ShardWriter`.

    Args:
        worker: whose main thread copies.
    """

    def __init__(self, worker: Writes) -> None:
        self._worker, self._writing = worker, False

    def save(
        self, state: State, settings: m.CallSettings, place: tuple[int, int, int], then: Callable[..., None], args: tuple[Any, ...],
        began: float | None = None,
    ) -> None:  # fmt: skip
        """Copy, and let the main thread go on with `then`; `place` is rank, size, generation."""
        worker = self._worker
        began = worker.world.now if began is None else began
        if self._writing:
            worker.soon(_AGAIN_S, self.save, state, settings, place, then, args, began)
        else:
            worker.soon(_COPY_S, self._copied, state, settings, place, then, args, began)

    def _copied(
        self, state: State, settings: m.CallSettings, place: tuple[int, int, int], then: Callable[..., None], args: tuple[Any, ...],
        began: float,
    ) -> None:  # fmt: skip
        worker, (rank, size, generation) = self._worker, place
        about = {
            "worker": worker.name, "call": worker.call_number, "generation": generation, "tick": state.tick, "rank": rank, "size": size,
            "step": state.iterations, "stall_seconds": worker.world.now - began, "sequence": settings.sequence_base + state.tick + 1,
            "folder": f"{settings.attempt}.{worker.call_number}.{generation}.{state.tick}",
        }  # fmt: skip
        if rank == 0:
            worker.process.say(m.SnapshotTaken(worker.name, worker.call_number, state.tick))
            about["meta"] = {"optimizer": {"iterations": state.iterations}, "tick": state.tick, "state": state}
        self._writing = True
        worker.enter("writing")
        worker.cluster.storage.write(worker, about, began)
        then(*args)

    def written(self, about: dict[str, Any], error: str | None, began: float) -> None:
        """The writer's thread is through with a part."""
        self._writing = False
        worker = self._worker
        if error is None:
            worker.process.say(m.ShardWritten(**about, report=None, seconds=worker.world.now - began))
        else:
            worker.process.say(m.ShardWritten(**about, report=None, error=error))
