"""The callbacks' state after a boundary, as long as somebody may ask for it: a checkpoint takes that of its tick, a loss of everything
goes back to one.

A save of tick t is announced before the first boundary after t is reported, by the same worker on the same channel. After the hooks of a
boundary, then, only the states around that boundary can be asked for anew; those of announced saves are kept until a later one is
committed, and that of the beginning for a run that loses everything before its first commit. All others go, with the arrays in them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from disttrain.training.hooks import FitHooks
from disttrain.training.trainability import Frozen

_ANNOUNCED = 8  # saves that began and were neither heard of again nor overtaken; a worker writes one at a time, so these are cut short


class StateForgotten(LookupError):
    """The state of a tick is not kept any more: its save came far too late to be worth anything."""


@dataclass(frozen=True)
class HookState:
    """The callbacks' counters and arrays from `tick` on, until the boundary before `until`.

    Attributes:
        arrays: shared; whoever hands them to a callback copies them.
    """

    tick: int
    capture: Callable[[], dict[str, Any]] = field(repr=False)
    arrays: dict[str, Any] = field(repr=False)
    until: int | None = None

    @property
    def state(self) -> dict[str, Any]:
        """In JSON types; a copy each time."""
        return self.capture()

    def holds_at(self, tick: int) -> bool:
        """Is it the state that belongs to the workers' at `tick`?"""
        return self.tick <= tick and (self.until is None or tick < self.until)


@dataclass
class _Announced:
    """A save that has begun."""

    state: HookState
    times: int = 1  # by a later generation once more
    asked: bool = False  # its checkpoint is about to be committed


class CallbackHistory:
    """The states of `hooks` after its boundaries. The thread of the callbacks notes and goes back; any thread may ask and tell of saves.

    Args:
        hooks: after its `begin`.
        tick: where the call begins.
    """

    def __init__(self, hooks: FitHooks, tick: int) -> None:
        self._hooks = hooks
        self._lock = threading.RLock()
        self._first = self._state_from(tick)
        self._before: HookState | None = None  # the newest but one; None while that is the first
        self._newest = self._first
        self._announced: dict[int, _Announced] = {}
        self._committed: int | None = None
        self._pinned: tuple[int, HookState] | None = None  # where the workers are; the callbacks go there soon
        self._frozen: list[tuple[int, Frozen]] = [(0, hooks.trainability.frozen())]

    def note(self, tick: int) -> None:
        """Keep the state as it is from `tick` on."""
        state = self._state_from(tick)
        with self._lock:
            ended = replace(self._newest, until=tick)
            if self._newest is self._first:
                self._first, self._before = ended, None
            else:
                self._before = ended
            self._newest = state

    def note_frozen(self, tick: int, frozen: Frozen) -> None:
        """From `tick` on, this must not be changed."""
        with self._lock:
            self._frozen.append((tick, frozen))

    def save_begun(self, tick: int) -> None:
        """A checkpoint of `tick` is being written: its state is kept, however many boundaries follow, until a later one is committed."""
        with self._lock:
            state = self._found(tick)
            if state is None:
                return  # `at` will say so
            before = self._announced.pop(tick, None)
            self._announced[tick] = _Announced(state) if before is None else replace(before, state=state, times=before.times + 1)
            idle = [other for other, save in self._announced.items() if not save.asked and other != self._committed]
            for other in idle[:-_ANNOUNCED]:
                del self._announced[other]

    def save_committed(self, tick: int) -> None:
        """Nobody will go back to a state before `tick`."""
        with self._lock:
            self._committed = tick
            self._announced = {other: save for other, save in self._announced.items() if other >= tick}
            since = max((entry[0] for entry in self._frozen if entry[0] <= tick), default=0)
            self._frozen = [entry for entry in self._frozen if entry[0] >= since]

    def save_failed(self, tick: int) -> None:
        """Nobody will go back to `tick`, unless it was announced once more since."""
        with self._lock:
            save = self._announced.get(tick)
            if save is not None:
                save.times -= 1
                if save.times < 1:
                    del self._announced[tick]

    def at(self, tick: int) -> HookState:
        """The state that belongs to the workers' at `tick`: that after the last boundary before it.

        Raises:
            StateForgotten: nobody could still need it.
        """
        with self._lock:
            if tick in self._announced:
                self._announced[tick].asked = True
                return self._announced[tick].state
            found = self._found(tick)
        if found is None:
            raise StateForgotten(f"the callbacks' state of tick {tick} is not kept any more: its save was overtaken by later boundaries")
        return found

    def frozen_at(self, tick: int) -> Frozen:
        """What training must not change in the workers' state of `tick`."""
        with self._lock:
            if self._pinned is not None and tick >= self._pinned[0]:
                return _frozen_in(self._pinned[1])
            if tick in self._announced:  # of a checkpoint: its own, though the callbacks may have gone back to before it since
                return _frozen_in(self._announced[tick].state)
            return next((frozen for since, frozen in reversed(self._frozen) if since <= tick), self._frozen[0][1])

    def pin(self, tick: int) -> None:
        """The workers go on at `tick`, and `go_back_to(tick)` follows: until then that state is kept, whatever is committed meanwhile."""
        with self._lock:
            self._pinned = tick, self.at(tick)

    def go_back_to(self, tick: int) -> None:
        """Put the callbacks back to where they were at `tick`, and let what came after happen anew.

        A save of a later tick stays announced: its parts may all be there, and then it will be committed.
        """
        with self._lock:
            if self._pinned is not None and self._pinned[0] == tick:
                (_, kept), self._pinned = self._pinned, None
            else:
                kept = self.at(tick)
            self._newest, self._before = replace(kept, until=None), None
            if kept.tick == self._first.tick:
                self._first = self._newest
            self._frozen = [*(entry for entry in self._frozen if entry[0] < tick), (tick, _frozen_in(kept))]
        self._hooks.load_state(kept.state, {name: array.copy() for name, array in kept.arrays.items()})

    def _found(self, tick: int) -> HookState | None:
        kept = (self._newest, self._before, self._first)
        return next((state for state in kept if state is not None and state.holds_at(tick)), None)

    def _state_from(self, tick: int) -> HookState:
        return HookState(tick, self._hooks.capture(), self._hooks.arrays())


def _frozen_in(state: HookState) -> Frozen:
    found: Frozen = state.state["frozen"]
    return found
