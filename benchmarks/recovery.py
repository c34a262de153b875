"""SIGKILL of one worker: seconds to the next completed optimizer step, and steps done again. Against torchrun and Ray Train v2."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import stamps
from aftermath import Aftermath, aftermath, unwrapped
from crashes import Crashes
from harness import (
    Job,
    JobFailed,
    Summary,
    available,
    disttrain_command,
    launch_command,
    parser,
    peer_command,
    print_table,
    progress,
    run_program,
    torchrun_command,
)

OURS, RAY_TRAIN, TORCHRUN = "disttrain", "ray train", "torchrun"
BAR = "at most 0.25 s, 0 redone"  # the median of ten kills
VIRTUAL_WORKERS = 4
EPOCH_STEPS = 200
_SETTLE_LIMIT_S = 180.0  # until all workers step again
_RECOVER_LIMIT_S = 180.0
_WHOLE_LIMIT_S = 3600.0
_LOOK_S = 0.1
_STEADY_S = 1.0  # the workers are steady when all of them have kept stepping for so long
_STEADY_STAMPS = 3


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    made = parser(__doc__ or "", [OURS, RAY_TRAIN, TORCHRUN])
    made.add_argument("--workers", type=int, default=3, help="processes that train")
    made.add_argument("--kills", type=int, default=argparse.SUPPRESS, help="of our workers, in one launch (default: 10, quick 2)")
    made.add_argument("--peer-kills", type=int, default=argparse.SUPPRESS, help="of a peer's workers (default: 3, quick 1)")
    made.add_argument("--checkpoint-every", type=int, default=20, help="optimizer steps, on all sides")
    made.add_argument("--seed", type=int, default=0, help="of the moments at which workers are killed")
    return run_program("recovery", made.parse_args(arguments), measure)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One launch of each system, one after the other."""
    kills = getattr(options, "kills", 2 if options.quick else 10)
    peer_kills = getattr(options, "peer_kills", 1 if options.quick else 3)
    measured: dict[str, list[Aftermath]] = {}
    ours: dict[str, Any] = {}
    crashes = Crashes()
    for system in available(options.systems):
        if system == OURS:
            measured[system], ours = _measure_ours(options, _place(folder, system, 0), kills)
        else:
            measured[system] = crashes.retried(system, partial(_measure_peer, system, options, folder, peer_kills))
    _print(measured, ours)
    crashes.print()
    if ours and not ours["same_weights"]:
        raise JobFailed(f"after {kills} kills the weights differ from those of an undisturbed run: {ours['digests']}")
    return {
        "kills": {name: [asdict(one) for one in found] for name, found in measured.items()},
        "disttrain": ours,
        "bar": BAR,
        "crashes": crashes.of,
    }


def _place(folder: Path, system: str, number: int) -> Path:
    """A new folder for try `number`."""
    made = folder / f"{system.replace(' ', '')[:4]}{number}"
    made.mkdir()
    return made


def _print(measured: dict[str, list[Aftermath]], ours: dict[str, Any]) -> None:
    mine = Summary.of(one.next_step_s for one in measured[OURS]).median if OURS in measured else None
    rows = []
    for system, found in measured.items():
        following = Summary.of(one.next_step_s for one in found)
        ratio = f"{mine / following.median:.3f}" if mine is not None and system != OURS else "-"
        new_ground = Summary.of(one.new_ground_s for one in found).text()
        redone = Summary.of(one.steps_redone for one in found).text(0)
        rows.append([system, str(len(found)), following.text(), new_ground, redone, ratio, BAR if system == OURS else "-"])
    print_table(["SIGKILL of one worker", "kills", "to the next step, s", "to new ground, s", "steps redone", f"{OURS} / it", "bar"], rows)
    if ours:
        seconds = ours["driver_seconds"]
        summary = Summary.of(seconds).text() if seconds else "-"
        checks = {
            "seconds from hearing of the loss, by its own timeline": f"{summary}, {len(seconds)} recoveries",
            f"each of the {ours['steps']} optimizer steps stamped": "yes" if ours["no_step_skipped"] else "NO",
            f"weights equal bit for bit those of an undisturbed run on {ours['calm_workers']}": "yes" if ours["same_weights"] else "NO",
        }
        for check, answer in checks.items():
            print(f"{OURS}, {check}: {answer}", flush=True)


# -- ours ---------------------------------------------------------------------------------------------------------------------------


def _measure_ours(options: argparse.Namespace, folder: Path, kills: int) -> tuple[list[Aftermath], dict[str, Any]]:
    """One launch with all kills; then the same number of epochs undisturbed, on another number of workers, for its digest."""
    disturbed, calm = folder / "run", folder / "calm"
    chooser = random.Random(options.seed)
    with _launch(options, folder, disturbed, options.workers, []) as job:

        def victim(number: int) -> int:
            _steady(job, options.workers)
            return _pid_by_status(job, disturbed, number % options.workers, options.workers)

        found = _kill_again_and_again(job, OURS, kills, victim, chooser, EPOCH_STEPS)
        _steady(job, options.workers)
        (job.folder / "stop").touch()
        job.wait(_WHOLE_LIMIT_S)
        steps = unwrapped(stamps.read(job.folder), EPOCH_STEPS)
    stamped = {one.step for one in steps}
    epochs = (max(stamped) + 1) // EPOCH_STEPS
    progress(f"{OURS}: {epochs} epochs once more, undisturbed")
    calm_workers = min(2, options.workers)
    with _launch(options, folder, calm, calm_workers, ["--epochs", epochs]) as job:
        job.wait(_WHOLE_LIMIT_S)
    digests = [_run(disttrain_command("digest", run)).strip() for run in (disturbed, calm)]
    return found, {
        "driver_seconds": _recovered_by_timeline(disturbed),
        "steps": max(stamped) + 1,
        "no_step_skipped": stamped == set(range(epochs * EPOCH_STEPS)),
        "calm_workers": f"{calm_workers} workers",
        "digests": digests,
        "same_weights": digests[0] == digests[1],
    }


def _launch(options: argparse.Namespace, folder: Path, run: Path, workers: int, arguments: list[object]) -> Job:
    place = folder / f"{run.name}-stamps"
    place.mkdir()
    settings = ["--workers", workers, "--virtual-workers", max(VIRTUAL_WORKERS, options.workers), "--run-dir", run]
    settings += ["--checkpoint-every", f"{options.checkpoint_every}steps"]
    return Job(OURS, launch_command("recover.py", settings, ["--folder", place, "--steps", EPOCH_STEPS, *arguments]), place)


def _pid_by_status(job: Job, run: Path, rank: int, workers: int) -> int:
    """The process of a rank, as `disttrain status` tells it once that agrees with who is stepping: status lags by a second."""
    limit = time.monotonic() + _SETTLE_LIMIT_S
    while time.monotonic() < limit:
        job.check()
        status: dict[str, Any] = json.loads(_run(disttrain_command("status", run, "--json")))
        told = {int(worker["rank"]): int(worker["pid"]) for worker in status.get("workers", [])}
        _steady(job, workers)
        if set(told.values()) == _stepping(job.folder):
            return told[rank]
    raise JobFailed(f"{OURS}: `disttrain status` did not name the {workers} stepping processes within {_SETTLE_LIMIT_S:.0f} s")


def _recovered_by_timeline(run: Path) -> list[float]:
    """Seconds of each recovery as the driver measured them, from hearing of the loss to the next completed step."""
    events = [json.loads(line) for path in sorted((run / "events").glob("*.jsonl")) for line in path.read_text().splitlines()]
    return [event["seconds"] for event in events if event["event"] == "recovered"]


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise JobFailed(f"{' '.join(command[2:])} ended with exit code {done.returncode}:\n{done.stderr}")
    return done.stdout


# -- the peers ----------------------------------------------------------------------------------------------------------------------


def _measure_peer(system: str, options: argparse.Namespace, above: Path, kills: int, number: int) -> list[Aftermath]:
    """One launch with all kills; the job is ended afterwards, it would go on for ever."""
    folder = _place(above, system, number)
    arguments = ["--folder", folder, "--steps", EPOCH_STEPS, "--checkpoint-every", options.checkpoint_every]
    if system == RAY_TRAIN:
        command = peer_command("ray_recover.py", [*arguments, "--workers", options.workers, "--ray-folder", folder])
    else:
        restarts = ["--max-restarts", kills + 10]
        command = torchrun_command("torchrun_recover.py", options.workers, [*arguments, "--checkpoint", folder / "state.pt"], restarts)
    with Job(system, command, folder) as job:

        def victim(number: int) -> int:
            _steady(job, options.workers)
            return sorted(_stepping(job.folder))[number % int(options.workers)]

        return _kill_again_and_again(job, system, kills, victim, random.Random(options.seed), None)


# -- killing ------------------------------------------------------------------------------------------------------------------------


def _kill_again_and_again(
    job: Job, system: str, kills: int, victim: Callable[[int], int], chooser: random.Random, period: int | None
) -> list[Aftermath]:
    """Kill a worker, wait until the training has made up for it and all workers step again, and so on.

    Args:
        victim: waits for the workers to be steady and gives the pid to kill.
        period: what step numbers wrap at; None if they do not.
    """
    found = []
    for number in range(kills):
        pid = victim(number)
        time.sleep(chooser.uniform(0.0, 1.0))  # any moment of a step, and of the time between two checkpoints
        found.append(_kill(job, system, pid, period))
        one = found[-1]
        progress(
            f"{system}, kill {number + 1}/{kills}: next step after {one.next_step_s:.3f} s, new ground after {one.new_ground_s:.3f} s, "
            f"{one.steps_redone} steps redone"
        )
    return found


def _kill(job: Job, system: str, pid: int, period: int | None) -> Aftermath:
    since_ns = time.monotonic_ns() - int(5e9)
    job.check()
    kill_ns = time.monotonic_ns()
    os.kill(pid, signal.SIGKILL)
    limit = time.monotonic() + _RECOVER_LIMIT_S
    while time.monotonic() < limit:
        time.sleep(_LOOK_S)  # the stamps hold the moment; looking late costs nothing, looking often would take CPU from the recovery
        job.check()
        near = stamps.read(job.folder, since_ns)
        known = aftermath(near if period is None else unwrapped(near, period), kill_ns, pid)
        if known is not None:
            return known
    raise JobFailed(f"{system}: no step was completed within {_RECOVER_LIMIT_S:.0f} s after process {pid} was killed.\n{job.tail()}")


def _stepping(folder: Path) -> set[int]:
    """The processes that have stepped steadily during the last second."""
    now = time.monotonic_ns()
    halves: list[dict[int, int]] = [{}, {}]
    for one in stamps.read(folder, now - int(_STEADY_S * 1e9)):
        half = halves[int(now - one.at_ns < _STEADY_S * 5e8)]
        half[one.pid] = half.get(one.pid, 0) + 1
    return {pid for pid in halves[0] if all(half.get(pid, 0) >= _STEADY_STAMPS for half in halves)}


def _steady(job: Job, workers: int) -> None:
    """Wait until all workers, replacements included, step."""
    limit = time.monotonic() + _SETTLE_LIMIT_S
    while len(_stepping(job.folder)) != workers:
        job.check()
        if time.monotonic() > limit:
            found = len(_stepping(job.folder))
            raise JobFailed(f"{job.name}: {found} of {workers} workers step after {_SETTLE_LIMIT_S:.0f} s.\n{job.tail()}")
        time.sleep(0.25)


if __name__ == "__main__":
    sys.exit(main())
