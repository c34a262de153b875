"""The callbacks' state after each of the last boundaries: a checkpoint takes that of its tick, a loss of everything goes back to one."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from disttrain.training.hooks import FitHooks
from disttrain.training.trainability import Frozen

_KEPT = 64  # boundaries; a save says that it has begun long before so many have passed


@dataclass(frozen=True)
class HookState:
    """The callbacks' counters and arrays from `tick` on, until the next boundary."""

    tick: int
    state: dict[str, Any]
    arrays: dict[str, Any]


class CallbackHistory:
    """The states of `hooks` after its boundaries.

    Args:
        hooks: after its `begin`.
        tick: where the call begins.
    """

    def __init__(self, hooks: FitHooks, tick: int) -> None:
        self._hooks = hooks
        self._first = self._state_from(tick)
        self._later: list[HookState] = []
        self._saved: dict[int, HookState] = {}
        self._frozen: list[tuple[int, Frozen]] = [(0, hooks.trainability.frozen())]

    def note(self, tick: int) -> None:
        """Keep the state as it is from `tick` on."""
        self._later = [*self._later[1 - _KEPT :], self._state_from(tick)]

    def note_frozen(self, tick: int, frozen: Frozen) -> None:
        """From `tick` on, this must not be changed."""
        self._frozen.append((tick, frozen))

    def save_begun(self, tick: int) -> None:
        """A checkpoint of `tick` is being written: its state is kept, however many boundaries follow, until a later one is committed."""
        self._saved[tick] = self.at(tick)

    def save_committed(self, tick: int) -> None:
        """Nobody will go back to a state before `tick`."""
        self._saved = {other: state for other, state in self._saved.items() if other >= tick}

    def save_failed(self, tick: int) -> None:
        """Nobody will go back to `tick`."""
        self._saved.pop(tick, None)

    def at(self, tick: int) -> HookState:
        """The state that belongs to the workers' at `tick`: that after the last boundary before it."""
        if tick in self._saved:
            return self._saved[tick]
        return next((kept for kept in reversed(self._later) if kept.tick <= tick), self._first)

    def frozen_at(self, tick: int) -> Frozen:
        """What training must not change in the workers' state of `tick`."""
        return next((frozen for since, frozen in reversed(self._frozen) if since <= tick), self._frozen[0][1])

    def go_back_to(self, tick: int) -> None:
        """Put the callbacks back to where they were at `tick`, and forget what came after."""
        kept = self.at(tick)
        self._later = [kept]
        self._saved = {other: state for other, state in self._saved.items() if other <= tick}
        self._frozen = [self._frozen[0], *(entry for entry in self._frozen[1:] if entry[0] <= tick)]
        self._hooks.load_state(kept.state, kept.arrays)

    def _state_from(self, tick: int) -> HookState:
        # A copy: a callback may hand out its own list, and go on adding to it.
        return HookState(tick, copy.deepcopy(self._hooks.state()), self._hooks.arrays())
