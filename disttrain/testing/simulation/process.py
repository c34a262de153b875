"""The process of a worker: it starts, freezes, is cut off, dies; and its line to the driver, in order both ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from disttrain.elastic import messages as m
from disttrain.testing.simulation.contracts import Surroundings
from disttrain.testing.simulation.worker import Worker

LEASE_S = 20.0  # cut off from the driver for so long, a process ends itself
BEAT_S = 1.0


class Process:
    """One process.

    Attributes:
        alive, booted: truths that the driver hears of later.
        condition: what its machine says while it is mute: "stopped", "alive" or "unknown"; None while it is well.
        told: the cluster has told of its death; `told_dead`: the driver has heard it; `killed`: the driver ended it.
    """

    def __init__(self, name: str, cluster: Surroundings) -> None:
        self.name, self.cluster, self.world, self.checks = name, cluster, cluster.world, cluster.checks
        self.number = int(name[1:])
        self.rng = self.world.rng(f"{cluster.attempt}/{name}")
        self.alive, self.booted, self.told_dead, self.told, self.killed = True, False, False, False, False
        self.condition: str | None = None
        self.mute_since: float | None = None
        self.cut_since: float | None = None
        self.well_since = self.started_at = self.world.now
        self.latency_s = cluster.scenario.latency_s
        self.heard_at = self.world.now
        self._held: list[tuple[Callable[..., None], tuple[Any, ...]]] = []  # until it thaws
        self._inbound: list[object] = []  # until the line is there again
        self._outbound: list[object] = []
        self._up = self._down = 0.0
        self._mute = 0
        self.heard: tuple[float, m.Beat] | None = None  # the last beat that the driver has, and since when
        self.last_words = 0.0  # what was said after that is lost
        self.worker = Worker(self)

    # -- its life -------------------------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Begin to start."""
        self.cluster.enter("booting", self)
        self.world.after(self.cluster.scenario.boot_s * self.rng.uniform(0.7, 1.5), self.run, self._booted)

    def _booted(self) -> None:
        self.booted = True
        self.heard_at = self.world.now
        inbound, self._inbound = self._inbound, []
        for command in inbound:
            self.worker.receive(command)
        self.world.after(self.rng.uniform(0.0, BEAT_S), self._beat)

    def run(self, action: Callable[..., None], *args: Any) -> None:
        """Something happens in the process, if it is alive; once it is awake."""
        if not self.alive:
            return
        if self.condition is not None:
            self._held.append((action, args))
        else:
            action(*args)

    def die(self, reason: str, *, crashed: bool = False, told: bool = True) -> None:
        """The process ends. `told`: the cluster hears of it soon."""
        if not self.alive:
            return
        self.alive = False
        self.checks.broke(self.name)
        # what it said a moment ago may lie in a buffer that died with it
        self.last_words = self.world.now if self.rng.random() < 0.6 else self.world.now - self.rng.uniform(0.0, 2 * self.latency_s)
        self.worker.leave_all_groups()
        if told:
            seconds = self.rng.uniform(0.0, 0.5) if self.rng.random() < 0.8 else self.rng.uniform(0.5, 5.0)
            self.world.after(seconds, self.cluster.tell_death, self, reason, crashed)

    def mute(self, condition: str, seconds: float | None) -> None:
        """It neither does nor says anything, for so long."""
        if not self.alive or self.condition is not None:
            return
        self.condition, self.mute_since = condition, self.world.now
        self._mute += 1
        if condition != "alive":  # else it is merely slow
            self.checks.broke(self.name)
        self.world.after(self.cluster.silent_s, self.cluster.look_for_silence, self)
        if seconds is not None:
            self.world.after(seconds, self._thaw, self._mute)

    def _thaw(self, number: int) -> None:
        if not self.alive or number != self._mute:
            return
        lasted_s, was = self.world.now - (self.mute_since or 0.0), self.condition
        self.condition, self.mute_since, self.well_since = None, None, self.world.now
        if was != "alive" and lasted_s > LEASE_S and self.rng.random() < 0.5:
            self.die("its lease was over when it came to", crashed=True)
            return
        held, self._held = self._held, []
        for action, args in held:
            self.run(action, *args)

    def cut(self, seconds: float) -> None:
        """Driver and process cannot reach each other."""
        if not self.alive or self.cut_since is not None:
            return
        self.cut_since = self.world.now
        self.world.after(self.cluster.silent_s, self.cluster.look_for_silence, self)
        self.world.after(LEASE_S + self.rng.uniform(0.0, 1.0), self._lease_over, self.cut_since)
        self.world.after(seconds, self._heal)

    def _lease_over(self, since: float) -> None:
        if self.alive and self.cut_since == since:
            self.die("its lease was over", told=False)
            self.world.after(40.0, self.cluster.tell_death, self, "unreachable", False)

    def _heal(self) -> None:
        self.cut_since, self.well_since = None, self.world.now
        if not self.alive:
            self.cluster.tell_death(self, "its lease was over", False)
            return
        outbound, self._outbound = self._outbound, []
        for report in outbound:
            self.cluster.arrive(self, report, self.world.now)
        inbound, self._inbound = (self._inbound, []) if self.booted else ([], self._inbound)
        for command in inbound:
            self.run(self.worker.receive, command)

    # -- its line -------------------------------------------------------------------------------------------------------------------

    def say(self, report: object) -> None:
        """To the driver; in order."""
        if self.alive:
            self._up = max(self._up, self.world.now + self.latency_s * self.rng.uniform(0.5, 2.0))
            self.world.at(self._up, self.cluster.arrive, self, report, self.world.now)

    def heard_beat(self, now: float) -> m.Beat:
        """What the driver knows of it, as if that still were so."""
        if self.heard is None:
            return m.Beat(self.name, -1, -1, "idle", -1, 0.0)
        at_s, beat = self.heard
        return replace(beat, seconds=beat.seconds + now - at_s)

    @property
    def line_is_slow(self) -> bool:
        """Is what it says long on its way?"""
        return self.latency_s >= 1.0 or self._up > self.world.now + 1.0

    def hold(self, report: object) -> None:
        """Of a cut line."""
        self._outbound.append(report)

    def send(self, command: object) -> None:
        """From the driver; in order."""
        self._down = max(self._down, self.world.now + self.latency_s * self.rng.uniform(0.5, 2.0))
        self.world.at(self._down, self._arrives, command)

    def _arrives(self, command: object) -> None:
        if not self.booted or self.cut_since is not None:
            self._inbound.append(command)
        else:
            self.run(self.worker.receive, command)

    def _beat(self) -> None:
        if not self.alive:
            return
        if self.condition is None and self.worker.activity.call >= 0:
            self.say(self.worker.activity.beat())
        self.world.after(BEAT_S, self._beat)

    # -- what the worker needs ------------------------------------------------------------------------------------------------------

    def ship(self, key: str, value: Any) -> m.Bulk:
        """Leave something large aside."""
        return m.Bulk(key, 1 << 20, (self, value))
