"""The collectives of one generation: an operation ends once every member has come to it, or never, or is seen to break."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from disttrain.testing.simulation.call import State
from disttrain.testing.simulation.contracts import Member
from disttrain.testing.simulation.world import Violation, World

_SEEN = 0.7  # how often a member sees the connection to one that has left break; the others wait until they are told


class Group:
    """What stands for a process group.

    Args:
        name: of the forming that made it.
        members: their names.
        exchange_s: how long an exchange takes, once all are there.

    Attributes:
        blocked: nothing gets through, and nobody sees it.
        sent: the state that its source sends.
    """

    def __init__(self, world: World, name: str, members: tuple[str, ...], exchange_s: float) -> None:
        self.world, self.name, self.members, self.exchange_s = world, name, members, exchange_s
        self.size = len(members)
        self.blocked = False
        self.sent: State | None = None
        self.gone: set[str] = set()
        self._rng = world.rng(f"group {name}")
        self._key: Any = None
        self._there: dict[str, tuple[Member, int, Callable[..., None]]] = {}
        self._leaving: dict[str, tuple[Member, int]] = {}  # of an operation that has ended: they go on in a moment

    def usable(self, name: str) -> bool:
        """Is it whole, as far as a member can see, with nothing of its own under way?"""
        return not self.gone and name not in self._there and name not in self._leaving

    def arrive(self, worker: Member, key: Any, requests: int, then: Callable[..., None]) -> bool:
        """A member comes to an operation; `then` is called with what any of them asked for. True if it has to wait for others.

        Raises:
            Violation: members of one generation do different things.
        """
        if self.gone:
            if self._rng.random() < _SEEN:
                self.world.after(self._rng.uniform(0.0, 0.05), worker.sees_broken, self, worker.token, "connection reset by peer")
            return True
        if self._there and self._key != key:
            raise Violation(f"{worker.name} comes to {key}, while {sorted(self._there)} of the same group are at {self._key}")
        if not self._there:
            self._key, self._requests = key, 0
        self._requests |= requests
        self._there[worker.name] = worker, worker.token, then
        return self._end_if_all()

    def unblock(self) -> None:
        """Connections work again."""
        self.blocked = False
        if not self.gone:
            self._end_if_all()

    def leave(self, name: str) -> None:
        """A member dies, or closes its end."""
        if name in self.gone:
            return
        self.gone.add(name)
        self._there.pop(name, None)
        unsent = self._leaving.pop(name, None) is not None  # the last bytes of the exchange may never come
        for worker, token, _ in list(self._there.values()):
            if self._rng.random() < _SEEN:
                self.world.after(self._rng.uniform(0.0, 0.05), worker.sees_broken, self, token, "connection reset by peer")
        for worker, token in list(self._leaving.values()) if unsent else ():
            if self._rng.random() < 0.5:
                worker.sees_broken(self, token, "connection reset by peer")

    def _end_if_all(self) -> bool:
        if len(self._there) < self.size:
            return True
        if self.blocked:
            worker = next(iter(self._there.values()))[0]
            worker.checks.broke(worker.name)
            return True
        there, self._there, self._leaving = self._there, {}, {}
        for name, (worker, _, then) in there.items():
            worker.soon(self.exchange_s * self._rng.uniform(0.5, 1.5), self._ends, name, then, self._requests)
            self._leaving[name] = worker, worker.token
        return False

    def _ends(self, name: str, then: Callable[..., None], requests: int) -> None:
        self._leaving.pop(name, None)
        then(requests)
