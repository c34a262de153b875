"""When a save begins: not while any worker still writes the one before, at the same step on all."""

from __future__ import annotations

from collections.abc import Sequence

from disttrain.elastic.messages import CallSettings
from disttrain.elastic.shard_writer import ShardWriter
from disttrain.training.program import Kind
from disttrain.training.step.engine import Engine
from disttrain.training.step.side_channel import REQUESTS


class SavesDue:
    """Of one generation: whether a save is due that was put off. The same on all members, for they hear the same."""

    def __init__(self) -> None:
        self._put_off = False

    def told(self, engine: Engine, settings: CallSettings, shards: ShardWriter | None, requested: set[str]) -> list[bool]:
        """Of `REQUESTS`, what this worker asks or tells all at the next step: "writing" where its part of a save is not written yet.

        Before a step after which a save is due, a short while is waited for it.
        """
        if shards is None or not engine.trains:
            return [name in requested for name in REQUESTS]
        due = self._put_off or "save" in requested or _is_count(engine.replica.optimizer.calls + 1, settings)
        told = {*requested, "writing"} if shards.writes(wait=due) else requested
        return [name in told for name in REQUESTS]

    def begins(self, engine: Engine, settings: CallSettings, kind: Kind, agreed: Sequence[bool]) -> bool:
        """Is the state after this step to be saved? One that is due while some worker writes is put off; however many, they are one.

        That of a stop is made in any case.
        """
        save, _, stop, writing = agreed
        if not engine.trains:
            return False
        due = kind is Kind.TRAIN and _is_count(engine.replica.optimizer.calls, settings)
        self._put_off = self._put_off or save or due
        if stop or (self._put_off and not writing):
            self._put_off = False
            return True
        return False


def named(agreed: Sequence[bool]) -> set[str]:
    """What was asked for or told, by name."""
    return {name for name, given in zip(REQUESTS, agreed, strict=True) if given}


def _is_count(step: int, settings: CallSettings) -> bool:
    return bool(settings.every_steps) and step % int(settings.every_steps or 1) == 0
