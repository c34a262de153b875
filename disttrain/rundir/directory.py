"""A run directory, as the driver opens it: who drives the run, what it is, where it goes on. Any fsspec URL.

run.json                        what the run is, see `identity.py`
attempts/                       one create-only record for each start of the driver (the checkpoint engine's fence)
calls/000002-a0001.json         the result of each finished fit or evaluate, see `finished_calls.py`
checkpoints/                    commits and their data
events/a0001.jsonl              the timeline of an attempt, see `events.py`
prints/a0001.jsonl              what its script and its workers printed, see `prints.py`
model/                          what the viewer needs: the model without weights, a few samples
status.json                     a hint for people, see `status.py`
stop/a0001                      asks the driver of an attempt to stop, see `stop_requests.py`

What is believed, all but the last five, is sealed: damage to it is an error, and never a beginning from nothing.
"""

from __future__ import annotations

import os
import platform
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from disttrain.checkpoint import (
    Attempt,
    Store,
    end_attempt,
    list_checkpoints,
    newest_number,
    read_attempts,
    read_history,
    record_resume,
    start_attempt,
)
from disttrain.checkpoint.layout import attempt_path, commit_path
from disttrain.checkpoint.messages import explain, some
from disttrain.checkpoint.records import read_record, record
from disttrain.clock import Clock, SystemClock
from disttrain.errors import CheckpointCorrupt, CheckpointIncomplete, RunInUse
from disttrain.rundir.events import EventFile, read_events, recent_events
from disttrain.rundir.finished_calls import FOLDER as CALLS
from disttrain.rundir.finished_calls import read_finished, write_finished
from disttrain.rundir.identity import RunDescription
from disttrain.rundir.prints import FOLDER as PRINTS
from disttrain.rundir.prints import read_prints
from disttrain.rundir.process import is_alive, this_process
from disttrain.rundir.resume import ResumePoint, choose
from disttrain.rundir.status import beat, read_status, write_status
from disttrain.rundir.stop_requests import FOLDER as STOP
from disttrain.rundir.stop_requests import ask_to_stop, asked_to_stop

_WATCH_S = 4.0  # a live driver renews status.json at least every second
_RUN_REMEDY = "restore this file from a copy, or --restart to begin anew on purpose; the checkpoints are untouched"
FINISHED = "finished"


class RunDirectory:
    """One run directory, seen by the driver.

    Args:
        run_dir: any fsspec URL; a path on this machine is made absolute here, once, for whoever reads it in another folder.
        clock, pause: where time comes from, and how to let some pass.
    """

    def __init__(self, run_dir: str, *, clock: Clock | None = None, pause: Callable[[float], None] = time.sleep) -> None:
        store = Store(run_dir)
        self.store = Store(store.root) if store.is_local else store
        self.run_dir = self.store.root if store.is_local else run_dir
        self.attempt: Attempt | None = None
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._pause = pause
        self._events: EventFile | None = None
        self._prints: EventFile | None = None

    # -- at the door ----------------------------------------------------------------------------------------------------------------

    def newest_number(self) -> int:
        """The number of the newest attempt that began; 0 before the first."""
        return newest_number(self.store)

    def attempts(self) -> list[Attempt]:
        """The attempts of the newest run, oldest first: back to the last one that began from nothing.

        Raises:
            CheckpointCorrupt: a record is damaged.
            CheckpointIncomplete: the records are gone, while what they tell of is there.
        """
        found = read_attempts(self.store, newest_run=True)
        if not found and (held := self._held()):
            raise CheckpointIncomplete(
                explain(
                    f"{self.store.locate('attempts')} is empty, though the run has begun.",
                    expected="one record for each start of the driver",
                    found=held,
                    remedy="restore the folder from a copy, or --restart to begin anew on purpose; the checkpoints are untouched",
                )
            )
        return found

    def description(self, attempts: list[Attempt]) -> RunDescription | None:
        """What the newest run in here is; None when none got as far as its first call.

        Raises:
            CheckpointCorrupt, CheckpointIncomplete: run.json is damaged, of another run, or not there, though a run has begun.
            CheckpointMismatch: a later disttrain wrote it.
        """
        found = read_record(self.store, "run.json", "run", _RUN_REMEDY)
        known = None if found is None else RunDescription.from_record(found, self.store.locate("run.json"), _RUN_REMEDY)
        if known is not None and known.root == _root(attempts):
            return known
        if attempts and (held := self._held(attempts)):
            if known is not None and not self.store.exists(attempt_path(known.root)):
                raise CheckpointIncomplete(
                    explain(
                        f"{self.store.locate(attempt_path(known.root))} is missing.",
                        expected="the record of the attempt that began the run, as run.json says",
                        found=f"attempts from {attempts[0].number} on, and {held}",
                        remedy=_RUN_REMEDY,
                    )
                )
            raise (CheckpointIncomplete if known is None else CheckpointCorrupt)(
                explain(
                    f"{self.store.locate('run.json')} {'is missing' if known is None else 'describes another run'}.",
                    expected=f"what the run is that attempt {_root(attempts)} began",
                    found=held,
                    remedy=_RUN_REMEDY,
                )
            )
        return None

    def _held(self, attempts: Sequence[Attempt] = ()) -> str:
        """What of the newest run would be lost if it were begun anew, in words."""
        names, calls = read_history(self.store), []
        if not attempts or read_finished(self.store, list(attempts)):
            calls = [f"{CALLS}/{name}" for name in self.store.list(CALLS)]
        return some([*names, *calls])

    def refuse_if_live(self, attempts: list[Attempt]) -> None:
        """Raise RunInUse while the newest attempt's driver lives, naming its host and pid."""
        if not attempts or attempts[-1].outcome is not None:
            return
        info = attempts[-1].info
        alive = is_alive(info)
        if alive or (alive is None and self._beats()):
            raise RunInUse(
                f"{self.run_dir} is in use by the driver with pid {info.get('pid')} on {info.get('host')}, since {info.get('started')}.\n"
                "  expected  one driver for a run\n"
                f"  try       stop that one (disttrain stop {shlex.quote(self.run_dir)}), another --run-dir, or --take-over if it is gone"
            )

    def _beats(self) -> bool:
        """Does somebody renew status.json? Looks for a change, so that clocks need not agree."""
        first = beat(self.store)
        end = self._clock.monotonic_s() + _WATCH_S
        while self._clock.monotonic_s() < end:
            self._pause(0.25)
            if beat(self.store) != first:
                return True
        return False

    # -- an attempt -----------------------------------------------------------------------------------------------------------------

    def begin(self, *, fresh: bool, after: int | None = None) -> Attempt:
        """Start an attempt: from here on this process drives the run.

        Args:
            after: the newest attempt when the run was looked at.

        Raises:
            RunInUse: another driver has begun since.
        """
        info = {
            **this_process(),
            "started": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self._clock.wall_s())),
            "python": platform.python_version(),
        }
        self.attempt = start_attempt(self.store, info, fresh, after)
        return self.attempt

    def resume_point(self, step: int | None = None) -> ResumePoint | None:
        """The checkpoint of the run's valid history to go on from, see `resume.choose`; recorded as what this attempt resumed from.

        Raises:
            CheckpointIncomplete: a fit is finished, but the checkpoint with its result is gone, and so is every later one.
        """
        assert self.attempt is not None
        point = None
        if not self.attempt.fresh:
            point = choose(self.store, step)
            self._refuse_lost_results(point)
        self.attempt = record_resume(self.store, self.attempt, None if point is None else point.name)
        return point

    def _refuse_lost_results(self, point: ResumePoint | None) -> None:
        """Before the resume is recorded: after it, what was lost would no longer count, and the next try would begin anew."""
        committed = {info.name for info in list_checkpoints(self.store)}
        for call, finished in self.finished_calls().items():
            name = finished.get("commit")
            if name is not None and name not in committed and (point is None or call < point.call):
                raise CheckpointIncomplete(
                    explain(
                        f"{self.store.locate(commit_path(name))} is missing: the result of fit, call {call} of the script, is lost.",
                        expected=f"the checkpoint that {CALLS}/ names for that call",
                        found=some(sorted(committed)) or "no checkpoint at all",
                        remedy="restore this file from a copy, or --restart to begin anew on purpose",
                    )
                )

    def describe(self, description: RunDescription) -> None:
        """Write run.json."""
        self.store.put("run.json", record("run", asdict(description)))

    def end(self, outcome: str, **details: Any) -> None:
        """Record how this attempt ended; `details` in JSON types, for people."""
        if self.attempt is not None and self.attempt.outcome is None:
            self.attempt = end_attempt(self.store, self.attempt, outcome, **details)

    def discard(self) -> None:
        """Take away what an attempt leaves that made no call, and the folder if nothing else is in it. Of a local run only."""
        for folder in ("attempts", "events", PRINTS, STOP):
            self.store.delete_folder(folder)
        self.store.delete("status.json")
        try:
            os.rmdir(self.store.root)
        except OSError:
            return  # somebody put something there

    # -- finished calls -------------------------------------------------------------------------------------------------------------

    def finished_calls(self) -> dict[int, dict[str, Any]]:
        """The records of the calls that this run has finished, by number."""
        return read_finished(self.store, self.attempts())

    def finish_call(self, call: int, result: dict[str, Any]) -> None:
        """Record the result of a call; from now on a restart takes it from here."""
        assert self.attempt is not None
        write_finished(self.store, call, self.attempt.number, result)

    # -- for people -----------------------------------------------------------------------------------------------------------------

    def write_status(self, status: dict[str, Any]) -> None:
        """Replace status.json."""
        write_status(self.store, status)

    def add_events(self, lines: Sequence[str]) -> None:
        """Write lines of JSON behind this attempt's timeline."""
        assert self.attempt is not None
        if self._events is None:
            self._events = EventFile(self.store, self.attempt.number)
        self._events.add(lines)

    def events(self) -> Iterator[dict[str, Any]]:
        """The timelines of all attempts, one after the other."""
        return read_events(self.store)

    def recent_events(self, count: int) -> list[dict[str, Any]]:
        """The last of them, oldest first, by one short read."""
        return recent_events(self.store, count)

    def add_prints(self, lines: Sequence[str]) -> None:
        """Write lines of JSON behind what this attempt has printed."""
        assert self.attempt is not None
        if self._prints is None:
            self._prints = EventFile(self.store, self.attempt.number, PRINTS)
        self._prints.add(lines)

    def prints(self) -> Iterator[dict[str, Any]]:
        """What scripts and workers of all attempts printed, one after the other."""
        return read_prints(self.store)

    def prints_size(self) -> dict[str, int]:
        """The bytes of each file of prints, by path: another answer, and there is more to read."""
        found: dict[str, int] = {}
        for name in self.store.list(PRINTS):
            path = f"{PRINTS}/{name}"
            for file in [path] if name.endswith(".jsonl") else [f"{path}/{piece}" for piece in self.store.list(path)]:
                found[file] = self.store.size(file)
        return found

    def status(self) -> dict[str, Any]:
        """What the run does, read from storage alone."""
        return read_status(self.store)

    # -- being told to stop ---------------------------------------------------------------------------------------------------------

    def ask_to_stop(self, *, now: bool = False) -> None:
        """Ask whoever drives the newest attempt, wherever that is; a later one does not hear it."""
        ask_to_stop(self.store, self.newest_number(), now=now)

    def asked_to_stop(self) -> int:
        """How often this attempt's driver has been asked, as with Ctrl-C: 0, 1 or 2."""
        return 0 if self.attempt is None else asked_to_stop(self.store, self.attempt.number)


def _root(attempts: list[Attempt]) -> int:
    return attempts[0].number if attempts else 0
