"""What the driver spends on one event of a run with thousands of workers, beside a bare dict update: CPU time of one thread.

Nothing is started: the real machines (`decide`, the call's) and what the controller keeps around them hear the events of a run; commands
go to a cluster that drops them.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness import Summary, paired_ratio, parser, print_table, progress, run_program

from disttrain import orchestrator as o
from disttrain.clock import SystemClock
from disttrain.collectives.store_server import StoreAddress
from disttrain.controller.checkpoint_interval import CheckpointInterval
from disttrain.controller.environment import CallEnvironment, KeptGroup
from disttrain.controller.group import GroupControl
from disttrain.controller.reporting import Reporting
from disttrain.controller.telemetry import CallStatistics
from disttrain.elastic import messages as m
from disttrain.orchestrator import call as calls
from disttrain.orchestrator.call_events import Boundary, BoundaryReached, CallEvent, GroupChanged, HooksDone
from disttrain.orchestrator.patience import Doing

STEP_S = 0.010
BAR_US = STEP_S * 0.01 * 1e6  # 1 % of a step, for one decision
_BEATS_S = 1.0  # each worker says once in so long what it does, and once in so long all are judged
ALONE, DRIVER, LIMIT = "decide alone", "in the driver", "dict update"


class _Deaf:
    """A cluster and a console that drop what they are given, and count it."""

    def __init__(self) -> None:
        self.count = 0

    def send(self, worker: str, command: object) -> None:
        self.count += 1

    def start_worker(self, worker: str) -> None:
        self.count += 1

    kill = start_worker

    def event(self, kind: str, words: str | None, **facts: object) -> None:
        self.count += 1


class Driver:
    """What the controller keeps of the workers, with the real `decide` in it."""

    def __init__(self, policy: o.RecoveryPolicy) -> None:
        deaf: Any = _Deaf()
        around = CallEnvironment(
            cluster=deaf, policy=policy, run_dir=None, attempt=1, threads=1, meeting_place=lambda: StoreAddress("", 0, b""),
            checkpoint_interval=CheckpointInterval(), console=deaf, interrupts=lambda: 0, first_step=lambda: None, clock=SystemClock(),
        )  # fmt: skip
        program: Any = SimpleNamespace(at=lambda tick: SimpleNamespace(tick=tick))
        self.call: Any = calls.advance(calls.open_call(saves=True), HooksDone(-1)).state
        reporting = Reporting(around, program, CallStatistics(policy.workers), {})
        trusting: Any = SimpleNamespace(watch_until=-1, formed=lambda generation, anew: None)
        self.group = GroupControl(
            around, 1, program, state=None, committed=None, kept=KeptGroup(), reporting=reporting, predicts_from=None,
            frozen_at=lambda tick: None, pin=lambda tick: None, advance=self._advance, replicas=lambda: trusting,
        )  # fmt: skip
        self.group.begin(m.Begin(1, None, m.CallSettings(None, 1, 0, None, 1, "gloo")))

    def _advance(self, event: CallEvent) -> None:
        self.call = calls.advance(self.call, event).state


class Alone:
    """`decide` and nothing else."""

    def __init__(self, policy: o.RecoveryPolicy) -> None:
        self.policy = policy
        self.state: o.State = o.first_call(policy, at_s=0.0).state

    def hear(self, event: o.Event) -> None:
        self.state = o.decide(self.state, event, self.policy).state


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Microseconds an event, repeat by repeat."""
    names = [f"w{number}" for number in range(options.workers)]
    found: dict[str, dict[str, list[float]]] = {}
    repeats = getattr(options, "repeats", 2 if options.quick else 7)
    for repeat in range(repeats):
        gc.collect()
        measured = {LIMIT: _dict_updates, ALONE: _alone, DRIVER: _driver}
        turns = {column: measured[column](names) for column in (LIMIT, *options.systems)}
        for column, figures in turns.items():
            for event, figure in figures.items():
                found.setdefault(event, {}).setdefault(column, []).append(figure)
        slowest = max((us, event) for figures in turns.values() for event, us in figures.items())
        progress(f"repeat {repeat + 1}/{repeats}: at most {slowest[0]:.1f} us, for {slowest[1]}")
    limit = found.pop(LIMIT)[LIMIT]
    rows = []
    for event, columns in found.items():
        cells = [Summary.of(columns[column]).text(1) if column in columns else "-" for column in (ALONE, DRIVER)]
        most = columns.get(DRIVER) or columns[ALONE]
        rows.append([event, *cells, f"{Summary.of(most).median / BAR_US:.3f}", f"{paired_ratio(most, limit).median:.0f}"])
    print(f"{options.workers} workers. Microseconds of CPU time for one event, on average over all of its kind; a bare dict update takes")
    print(f"{Summary.of(limit).text(3)}. The bar is 1 % of a step of {STEP_S * 1e3:.0f} ms: {BAR_US:.0f} us, a ratio below 1.\n")
    print_table(["event", f"{ALONE}, us", f"{DRIVER}, us", "ratio to the bar", "dict updates"], rows)
    return {"microseconds": found, "dict_update_microseconds": limit, "bar_microseconds": BAR_US}


def _alone(names: Sequence[str]) -> dict[str, float]:
    policy = _policy(len(names))
    one = Alone(policy)
    count = len(names)
    found = {"WorkerReady": _each(one.hear, [o.WorkerReady(name, 1.0) for name in names])}
    found["Progress"] = _each(one.hear, [o.Progress(1, tick, 2.0) for tick in range(1, count + 1)])
    running, tick = one.state, count
    stops = [o.WorkerLost(names[0], "killed", 3.0), *(o.Stopped(name, 1, tick, 3.0) for name in names[1:])]
    found["Stopped, all in one re-forming"] = _each(one.hear, stops)
    one.state = running
    found["WorkerLost, all of them"] = _each(one.hear, [o.WorkerLost(name, "killed", 3.0) for name in names])
    one.state = running
    found["CheckpointCommitted"] = _each(one.hear, [o.CheckpointCommitted(f"c{tick}", tick, 3.0) for tick in range(count)])
    return found


def _driver(names: Sequence[str]) -> dict[str, float]:
    policy, count = _policy(len(names)), len(names)
    driver = Driver(policy)
    group = driver.group
    found = {"WorkerReady": _each(group.decide, [o.WorkerReady(name, 1.0) for name in names[:-1]])}
    found["Form, a member"] = _each(group.decide, [o.WorkerReady(names[-1], 1.0)]) / count
    found["Progress"] = _each(group.decide, [o.Progress(1, tick, 2.0) for tick in range(1, count + 1)])

    boundaries: list[CallEvent] = []
    for tick in range(1, count + 1, 2):
        boundaries += [BoundaryReached(Boundary(1, tick), True), HooksDone(tick)]
    driver.call = calls.advance(driver.call, GroupChanged("running", 1, 0, None, False)).state
    found["boundary, hooks done"] = _each(driver._advance, boundaries)

    now = time.monotonic()
    doings = [Doing("computing", 7, 1, now, 0.01, 0.02) for _ in names]
    patience = group.patience
    began = time.thread_time()
    for name, doing in zip(names, doings, strict=True):
        patience.heard(name, doing)
    patience.look(group.members, 1, now + _BEATS_S)
    found["Beat, with the look at all each second"] = (time.thread_time() - began) / count * 1e6

    halts = [m.Stopped(name, 1, 1, count, "asked to stop") for name in names]
    found["Stopped, all as asked by Ctrl-C"] = _each(lambda halt: group.stopped(halt, now), halts[:-1])
    stops = [m.Stopped(name, 1, 1, count, "broke") for name in names[1:]]
    group._halted.clear()
    lost = o.WorkerLost(names[0], "killed", now)
    found["WorkerLost, first: an Abort, a member"] = _each(lambda lost: group.hear_cluster(lost, now), [lost]) / count
    found["Stopped, all in one re-forming"] = _each(lambda stop: group.stopped(stop, now), stops[:-1])
    found["Form, a member, after a loss"] = _each(lambda stop: group.stopped(stop, now), stops[-1:]) / count
    found["WorkerLost, all of them"] = _each(
        lambda lost: group.hear_cluster(lost, now), [o.WorkerLost(name, "killed", now) for name in names[1:]]
    )
    return found


def _policy(workers: int) -> o.RecoveryPolicy:
    return o.RecoveryPolicy(workers=workers, virtual_workers=workers, poison_limit=10**6, break_limit=10**6)


def _dict_updates(names: Sequence[str]) -> dict[str, float]:
    known: dict[str, float] = {}

    def update(name: str) -> None:
        known[name] = 1.0

    return {LIMIT: _each(update, names)}


def _each(do: Callable[[Any], object], events: Sequence[Any]) -> float:
    """Microseconds for one of `events`."""
    began = time.thread_time()
    for event in events:
        do(event)
    return (time.thread_time() - began) / len(events) * 1e6


def main(arguments: list[str] | None = None) -> int:
    """Run the program; the exit code."""
    made = parser(__doc__ or "", [ALONE, DRIVER])
    made.add_argument("--workers", type=int, default=16384, help="of the run that is pretended")
    made.add_argument("--repeats", type=int, default=argparse.SUPPRESS, help="turns (default: 7, quick 2)")
    return run_program("control_plane", made.parse_args(arguments), measure)


if __name__ == "__main__":
    sys.exit(main())
