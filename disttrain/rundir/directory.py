"""A run directory: who drives the run, what it is, which calls are finished, and what it is doing. Any fsspec URL.

run.json                        what the run is: script, virtual workers, seed, threads
attempts/                       one create-only record for each start of the driver (the checkpoint engine's fence)
calls/000002-a0001.json         the result of each finished fit or evaluate
checkpoints/                    commits and their data
events/a0001.jsonl              the timeline of an attempt, see `events.py`
model/                          what the viewer needs: the model without weights, a few samples
status.json                     a hint for people, overwritten as the run goes
"""

from __future__ import annotations

import json
import os
import platform
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil

from disttrain.checkpoint import (
    Attempt,
    CheckpointInfo,
    Loaded,
    Store,
    end_attempt,
    list_checkpoints,
    load,
    read_attempts,
    read_history,
    record_resume,
    start_attempt,
)
from disttrain.clock import Clock, SystemClock
from disttrain.errors import RunInUse, RunMismatch
from disttrain.rundir.events import EventFile, read_events
from disttrain.watch import What

_WATCH_S = 4.0  # a live driver on another machine renews status.json at least every second
FINISHED = "finished"


@dataclass(frozen=True)
class RunDescription:
    """What stays the same over all attempts of a run.

    Args:
        script: the script's file name, or "" for a run begun from Python.
        arguments: what it was given.
        virtual_workers, seed, threads: what the bits of the result depend on.
        root: the attempt that began the run; `--restart` begins another one in the same place.
        script_sha256: content of the script; a change is told, not refused.
    """

    script: str
    arguments: tuple[str, ...]
    virtual_workers: int
    seed: int
    threads: int
    root: int
    script_sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)


_NO_SLOTS = ("model/", "callbacks/", "totals")


@dataclass(frozen=True)
class ResumePoint:
    """A committed checkpoint to go on from, and what the driver wrote beside it."""

    name: str
    call: int
    tick: int
    extra: dict[str, Any]
    arrays: dict[str, Any]
    store: Store

    def state(self, what: What) -> dict[str, np.ndarray]:
        """The weights, or the slots of optimizers, by the names of `Replica.state_dict`."""
        loaded = load(self.store, self.name, prefix="model/" if what == "weights" else "")
        found = {name: array.to_numpy() for name, array in loaded.arrays.items()}
        return found if what == "weights" else {name: a for name, a in found.items() if not name.startswith(_NO_SLOTS)}


def arrays_of_callbacks(loaded: Loaded) -> dict[str, np.ndarray]:
    """What callbacks keep in a checkpoint, by the names that they gave."""
    kept = {name: array for name, array in loaded.arrays.items() if name.startswith("callbacks/")}
    return {name.removeprefix("callbacks/"): array.to_numpy() for name, array in kept.items()}


class RunDirectory:
    """One run directory, seen by the driver.

    Args:
        run_dir: any fsspec URL.
        clock, pause: where time comes from, and how to let some pass.
    """

    def __init__(self, run_dir: str, *, clock: Clock | None = None, pause: Callable[[float], None] = time.sleep) -> None:
        self.run_dir = run_dir
        self.store = Store(run_dir)
        self.attempt: Attempt | None = None
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._pause = pause
        self._events: EventFile | None = None

    # -- at the door ----------------------------------------------------------------------------------------------------------------

    def attempts(self) -> list[Attempt]:
        """All attempts, oldest first."""
        return read_attempts(self.store)

    def description(self, attempts: list[Attempt]) -> RunDescription | None:
        """What the newest run in here is; None when none got as far as its first call."""
        found = self._read_json("run.json")
        if found is None:
            return None
        found["arguments"] = tuple(found["arguments"])
        known = RunDescription(**found)
        return known if known.root == _root(attempts) else None

    def refuse_if_live(self, attempts: list[Attempt]) -> None:
        """Raise RunInUse while the newest attempt's driver lives, naming its host and pid."""
        if not attempts or attempts[-1].outcome is not None:
            return
        info = attempts[-1].info
        if _lives(info) or (info.get("host") != socket.gethostname() and self._beats()):
            raise RunInUse(
                f"{self.run_dir} is in use by the driver with pid {info.get('pid')} on {info.get('host')}, since {info.get('started')}.\n"
                "  expected  one driver for a run\n"
                f"  try       stop that one (kill -INT {info.get('pid')}), another --run-dir, or --take-over if it is not there any more"
            )

    def begin(self, *, fresh: bool) -> Attempt:
        """Start an attempt: from here on this process drives the run."""
        process = psutil.Process()
        info = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process_started": process.create_time(),
            "boot": _boot_id(),
            "started": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self._clock.wall_s())),
            "python": platform.python_version(),
        }
        self.attempt = start_attempt(self.store, info, fresh)
        return self.attempt

    def resume_point(self) -> ResumePoint | None:
        """The newest checkpoint of the run's valid history, recorded as what this attempt resumed from."""
        assert self.attempt is not None
        names = [] if self.attempt.fresh else read_history(self.store)
        name = names[0] if names else None
        point = None
        if name is not None:
            loaded = load(self.store, name, prefix="callbacks/")
            extra = dict(loaded.manifest.extra)
            point = ResumePoint(name, int(extra["call"]), int(extra["tick"]), extra, arrays_of_callbacks(loaded), self.store)
        self.attempt = record_resume(self.store, self.attempt, name)
        return point

    def describe(self, description: RunDescription) -> None:
        """Write run.json."""
        self.store.put("run.json", json.dumps(description.__dict__, indent=1).encode())

    def end(self, outcome: str) -> None:
        """Record how this attempt ended."""
        if self.attempt is not None and self.attempt.outcome is None:
            self.attempt = end_attempt(self.store, self.attempt, outcome)

    # -- finished calls -------------------------------------------------------------------------------------------------------------

    def finished_calls(self) -> dict[int, dict[str, Any]]:
        """The records of the calls that this run has finished, by number."""
        assert self.attempt is not None
        if self.attempt.fresh:
            return {}
        chain = _chain(self.attempts())
        records: dict[int, tuple[int, dict[str, Any]]] = {}
        for name in self.store.list("calls"):
            call, _, attempt = name.removesuffix(".json").partition("-a")
            if not (call.isdigit() and attempt.isdigit()) or int(attempt) not in chain:
                continue
            if int(call) not in records or records[int(call)][0] < int(attempt):
                record = self._read_json(f"calls/{name}")
                if record is not None:
                    records[int(call)] = (int(attempt), record)
        return {call: record for call, (_, record) in records.items()}

    def finish_call(self, call: int, record: dict[str, Any]) -> None:
        """Record the result of a call; from now on a restart takes it from here."""
        assert self.attempt is not None
        self.store.create(f"calls/{call:06d}-a{self.attempt.number:04d}.json", json.dumps(record).encode())

    # -- for people -----------------------------------------------------------------------------------------------------------------

    def write_status(self, status: dict[str, Any]) -> None:
        """Replace status.json."""
        self.store.put("status.json", json.dumps(status).encode())

    def add_events(self, lines: Sequence[str]) -> None:
        """Write lines of JSON behind this attempt's timeline."""
        assert self.attempt is not None
        if self._events is None:
            self._events = EventFile(self.store, self.attempt.number)
        self._events.add(lines)

    def events(self) -> Iterator[dict[str, Any]]:
        """The timelines of all attempts, one after the other."""
        return read_events(self.store)

    def status(self) -> dict[str, Any]:
        """What the run does, read from storage alone: the last words of the driver, corrected by what is known of its end."""
        attempts = self.attempts()
        if not attempts:
            return {"state": "empty", "checkpoints": []}
        status = self._read_json("status.json") or {}
        if status.get("attempt") != attempts[-1].number:
            status = {"attempt": attempts[-1].number, "state": "starting"}
        newest = attempts[-1]
        status["driver"] = {key: newest.info.get(key) for key in ("host", "pid", "started")}
        if newest.outcome is not None:
            status["state"] = newest.outcome
        elif newest.info.get("host") == socket.gethostname() and newest.info.get("boot") == _boot_id() and not _lives(newest.info):
            status["state"] = "lost"
        if status["state"] not in ("running", "starting"):
            status["workers"] = []
        valid = set(read_history(self.store))
        status["checkpoints"] = [_checkpoint(info) for info in list_checkpoints(self.store) if info.name in valid]
        return status

    def _beats(self) -> bool:
        """Does somebody renew status.json? Looks for a change, so that clocks need not agree."""
        first = self._read_json("status.json")
        end = self._clock.monotonic_s() + _WATCH_S
        while self._clock.monotonic_s() < end:
            self._pause(0.25)
            if self._read_json("status.json") != first:
                return True
        return False

    def _read_json(self, path: str) -> dict[str, Any] | None:
        try:
            value = json.loads(self.store.read(path))
        except (FileNotFoundError, ValueError):
            return None
        return value if isinstance(value, dict) else None


def check_same_run(known: RunDescription, *, script: str, virtual_workers: int | None, workers: int, run_dir: str) -> None:
    """Raise RunMismatch where a run directory holds another script's run, or one with another number of virtual workers."""
    if known.script != script:
        raise RunMismatch(
            f"{run_dir} holds a run of {known.script or 'a Python session'}, not of {script or 'a Python session'}.\n"
            "  try       another --run-dir, or --restart to begin anew beside it"
        )
    if virtual_workers is not None and virtual_workers != known.virtual_workers:
        raise RunMismatch(
            f"{run_dir} holds a run with {known.virtual_workers} virtual workers, --virtual-workers {virtual_workers} was given:\n"
            "  results depend on their number\n"
            f"  try       --virtual-workers {known.virtual_workers}, another --run-dir, or --restart to begin anew beside it"
        )
    if workers > known.virtual_workers:
        raise RunMismatch(
            f"{run_dir} holds a run with {known.virtual_workers} virtual workers: {workers} workers are too many, each hosts one or more.\n"
            f"  try       --workers {known.virtual_workers} or fewer, or --restart to begin anew beside it"
        )


def _chain(attempts: list[Attempt]) -> set[int]:
    """The attempts of the newest run: back to the last one that began from nothing."""
    chain: set[int] = set()
    for attempt in reversed(attempts):
        chain.add(attempt.number)
        if attempt.fresh:
            break
    return chain


def _root(attempts: list[Attempt]) -> int:
    return min(_chain(attempts), default=0)


def _lives(info: dict[str, Any]) -> bool:
    """Is the process of an attempt on this machine alive?"""
    if info.get("host") != socket.gethostname() or info.get("boot") != _boot_id():
        return False
    try:
        process = psutil.Process(int(info["pid"]))
        same = abs(process.create_time() - float(info["process_started"])) < 1.0
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except (psutil.Error, KeyError, ValueError):
        return False


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def _checkpoint(info: CheckpointInfo) -> dict[str, Any]:
    return {"name": info.name, "step": info.step, "attempt": info.attempt}
