"""What a worker tells of its bits: digests of its state, and what it got for slices that are audited."""

from __future__ import annotations

from collections.abc import Callable

from disttrain.collectives import Group, GroupBroken
from disttrain.elastic import messages as m
from disttrain.elastic.shard_writer import state_digest
from disttrain.training.program import Kind, Position
from disttrain.training.step.audit import StatesDiffer
from disttrain.training.step.engine import Engine


class Witness:
    """One worker's.

    Attributes:
        watch_until: up to this tick, the digest is told after each step.
    """

    def __init__(self, worker: str, report: Callable[[object], None]) -> None:
        self._worker, self._report = worker, report
        self.watch_until = -1
        self._first, self._source = (-1, b""), ""  # what this worker had of a tick before others, and whose state it is done again from

    def forming(self, command: m.Form, rank: int, engine: Engine) -> None:
        """A generation is formed. Where this worker is ahead of it, what it holds is kept in mind."""
        self.watch_until = command.watch_until
        tick = command.ticks[rank]
        if command.source is None or command.restore is not None:
            self._first = (-1, b"")
        elif engine.trains and tick == engine.tick == command.tick + 1:
            self._first, self._source = (tick, state_digest(engine.replica.state_dict()).packed), command.members[command.source]

    def arrived(self, engine: Engine, generation: tuple[int, int]) -> None:
        """A tick is done: was it done here before?"""
        tick, first = self._first
        if tick < 0 or engine.tick < tick:
            return
        self._first = (-1, b"")
        if engine.tick == tick:
            digest = state_digest(engine.replica.state_dict())
            self._report(m.Digested(self._worker, *generation, tick, 1, digest, first, self._source))

    def stepped(self, engine: Engine, done: Position, group: Group, settings: m.CallSettings, generation: tuple[int, int]) -> None:
        """A step is done; `generation` is (call, generation)."""
        self.arrived(engine, generation)
        if done.kind is not Kind.TRAIN:
            return
        self.audited(engine, generation)
        every = settings.digest_every
        if engine.tick <= self.watch_until or (every and engine.replica.optimizer.calls % every == 0):
            self._tell(engine, group, generation)

    def broke(self, broken: GroupBroken, engine: Engine, group: Group | None, generation: tuple[int, int]) -> None:
        """A step could not be done."""
        self.audited(engine, generation)
        if isinstance(broken, StatesDiffer) and group is not None:
            self._tell(engine, group, generation)

    def audited(self, engine: Engine, generation: tuple[int, int]) -> None:
        """Tell what this worker got for an audited slice, if two did not agree at once."""
        notes = engine.by_products.audits
        if any(note.attempt or not note.agreed for note in notes):
            self._report(m.Audited(self._worker, *generation, tuple(notes)))
        notes.clear()

    def _tell(self, engine: Engine, group: Group, generation: tuple[int, int]) -> None:
        digest = state_digest(engine.replica.state_dict())
        digest = digest if group.rank == 0 else digest.unnamed
        self._report(m.Digested(self._worker, *generation, engine.tick, group.size, digest))
