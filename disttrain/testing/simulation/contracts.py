"""What the parts of the simulation need of those that stand above them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Protocol

from disttrain.controller.mailbox import Done
from disttrain.elastic import messages as m
from disttrain.testing.simulation.call import Call, Hooks, State
from disttrain.testing.simulation.scenario import Scenario
from disttrain.testing.simulation.world import World
from disttrain.training.program import Position


class Checks(Protocol):
    """Whom everything is told that a promise speaks of; see `promises.Promises`."""

    unreachable: set[str]
    hooks_until: float

    def broke(self, name: str) -> None: ...
    def completed(self, worker: Any, state: State) -> None: ...
    def formed(self, form: m.Form) -> None: ...
    def kills(self, process: Any) -> None: ...
    def part_heard(self, part: m.ShardWritten) -> None: ...
    def commits(self, call: int, tick: int, state: State, extra: dict[str, Any]) -> None: ...
    def saved(self, now: float) -> None: ...
    def hooks_run(self, call: Call, counted: Hooks, position: Position, state: State) -> None: ...
    def fetched(self, tick: int, arrays: dict[str, Any]) -> None: ...
    def script_did(self, done: Done) -> None: ...


class Member(Protocol):
    """A worker, as its group sees it."""

    name: str
    token: int
    checks: Checks

    def soon(self, seconds: float, then: Callable[..., Any], *args: Any) -> None: ...
    def sees_broken(self, group: Any, token: int, why: str) -> None: ...


class Disk(Protocol):
    """The storage, as workers see it."""

    def write(self, worker: Any, about: dict[str, Any], began: float) -> None: ...
    def load(self, name: str) -> State: ...


class Surroundings(Protocol):
    """The cluster, as its processes see it."""

    world: World
    scenario: Scenario
    attempt: int
    checks: Checks
    storage: Disk
    silent_s: float

    def enter(self, stage: str, process: Any) -> None: ...
    def arrive(self, process: Any, report: object, said_at: float) -> None: ...
    def tell_death(self, process: Any, reason: str, crashed: bool) -> None: ...
    def look_for_silence(self, process: Any) -> None: ...
    def call_of(self, handle: int) -> Call: ...
    def meeting(self, form: m.Form) -> Any: ...


class Host(Protocol):
    """A process, as the worker in it sees it."""

    name: str
    number: int
    world: World
    cluster: Surroundings
    rng: random.Random
    alive: bool
    condition: str | None

    def run(self, action: Callable[..., None], *args: Any) -> None: ...
    def say(self, report: object) -> None: ...
    def ship(self, key: str, value: Any) -> m.Bulk: ...


class Writes(Protocol):
    """A worker, as the writer of its parts sees it."""

    name: str
    call_number: int
    world: World
    cluster: Surroundings
    process: Host

    def soon(self, seconds: float, then: Callable[..., Any], *args: Any) -> None: ...
    def enter(self, stage: str) -> None: ...
