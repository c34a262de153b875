"""To the first word and the first completed step, the whole job, and peak memory: against Ray Train v2 and torchrun."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from crashes import Crashes
from harness import (
    Job,
    JobFailed,
    MemoryWatch,
    Summary,
    available,
    launch_command,
    paired_ratio,
    parser,
    peer_command,
    print_table,
    progress,
    run_program,
    torchrun_command,
)

OURS, RAY_TRAIN, TORCHRUN = "disttrain", "ray train", "torchrun"
BARS = {"first_step_s": "at most 0.60", "peak_mib": "below 1.00"}  # ours over Ray Train's
_FIRST_STEP = re.compile(r"^first step completed +([0-9.]+)", re.MULTILINE)
_LIMIT_S = 600.0
_WORDS = 5  # launches of which only the first word is waited for
_SILENCE_BAR_S = 3.0
_SILENCE_SCRIPT = """
import numpy as np
import disttrain as dt
from disttrain import layers

model = dt.Sequential([dt.Input((4,)), layers.Dense(2)])
model.compile("sgd", "mse")
model.fit(np.ones((80, 4), "float32"), np.ones((80, 2), "float32"), batch_size=4, epochs=2)
"""
_WORD_BAR_S = 0.3  # after Python has started


@dataclass(frozen=True)
class Times:
    """Of one job, in seconds since its process was started."""

    first_step_s: float
    whole_job_s: float


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    made = parser(__doc__ or "", [OURS, RAY_TRAIN, TORCHRUN])
    made.add_argument("--workers", type=int, default=2, help="processes that train")
    made.add_argument("--epochs", type=int, default=3, help="of the job, the MLP")
    made.add_argument("--steps", type=int, default=400, help="optimizer steps of an epoch")
    made.add_argument("--repeats", type=int, default=argparse.SUPPRESS, help="for the times (default: 5, quick 1)")
    made.add_argument("--memory-repeats", type=int, default=argparse.SUPPRESS, help="for the memory (default: 3, quick 1)")
    return run_program("startup", made.parse_args(arguments), measure)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Times from jobs that nobody looks at; memory from other ones, since looking at it every quarter of a second takes CPU."""
    systems = available(options.systems)
    repeats = getattr(options, "repeats", 1 if options.quick else 5)
    memory_repeats = getattr(options, "memory_repeats", 1 if options.quick else 3)
    crashes = Crashes()
    times: dict[str, list[Times]] = {system: [] for system in systems}
    for repeat in range(repeats):
        for system in _rotated(systems, repeat):
            times[system].append(crashes.retried(system, partial(_times, system, options, folder / f"{_short(system)}t{repeat}")))
            last = times[system][-1]
            progress(f"repeat {repeat + 1}/{repeats}: {system} first step {last.first_step_s:.2f} s, whole job {last.whole_job_s:.2f} s")
    words = [_first_word(folder) for _ in range(_WORDS)] if OURS in systems else []
    silences = {busy: _longest_silence(folder, busy) for busy in (0, 2 * (os.cpu_count() or 1))} if OURS in systems else {}
    peaks: dict[str, list[float]] = {system: [] for system in systems}
    processes: dict[str, int] = dict.fromkeys(systems, 0)
    for repeat in range(memory_repeats):
        for system in _rotated(systems, repeat):
            peak, count = crashes.retried(system, partial(_memory, system, options, folder / f"{_short(system)}m{repeat}"))
            peaks[system].append(peak)
            processes[system] = max(processes[system], count)
            progress(f"memory {repeat + 1}/{memory_repeats}: {system} {peak:.0f} MiB in {count} processes")
    measured = {
        "first_step_s": {system: [one.first_step_s for one in found] for system, found in times.items()},
        "whole_job_s": {system: [one.whole_job_s for one in found] for system, found in times.items()},
        "peak_mib": peaks,
    }
    _print(systems, measured, processes)
    _print_words(words)
    _print_silences(silences)
    crashes.print()
    return {
        "measured": measured,
        "first_word_s": words,
        "longest_silence_s": {f"beside {busy} busy processes": found for busy, found in silences.items()},
        "processes": processes,
        "ratios": _ratios(measured),
        "bars": BARS,
        "crashes": crashes.of,
    }


def _print(systems: list[str], measured: dict[str, dict[str, list[float]]], processes: dict[str, int]) -> None:
    ratios = _ratios(measured)
    rows = []
    for name, label in (("first_step_s", "to the first step, s"), ("whole_job_s", "whole job, s"), ("peak_mib", "peak PSS, MiB")):
        digits = 0 if name == "peak_mib" else 2
        cells = [Summary.of(measured[name][system]).text(digits) if measured[name][system] else "-" for system in systems]
        against = [ratios[name][peer].text(3) if peer in ratios[name] else "-" for peer in (RAY_TRAIN, TORCHRUN)]
        rows.append([label, *cells, *against, BARS.get(name, "-")])
    rows.append(["processes, at most", *(str(processes[system]) for system in systems), "-", "-", "-"])
    print_table(["", *systems, f"{OURS} / {RAY_TRAIN}", f"{OURS} / {TORCHRUN}", f"bar, against {RAY_TRAIN}"], rows)


def _print_words(words: list[dict[str, float]]) -> None:
    if words:
        launched, bare = (Summary.of([word[name] for word in words]) for name in ("launch", "python"))
        after = Summary.of([word["launch"] - word["python"] for word in words])
        rows = [[launched.text(), bare.text(), after.text(), f"at most {_WORD_BAR_S}"]]
        print_table(["to the first word, s", "bare `python -c print()`", "after Python has started", "bar"], rows)


def _first_word(folder: Path) -> dict[str, float]:
    """Seconds from the start of a launch to its first byte, and those of a bare Python beside it. The launch is ended then."""
    script = folder / "word.py"
    script.write_text("")
    took = {}
    for name, command in (
        ("python", [sys.executable, "-c", "print('a word', flush=True)"]),
        ("launch", launch_command(str(script), ["--run-dir", folder / "word"], [])),
    ):
        began = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder, start_new_session=True) as process:
            assert process.stdout is not None
            said = os.read(process.stdout.fileno(), 1)
            took[name] = time.monotonic() - began
            process.terminate()
            process.communicate(timeout=_LIMIT_S)
        if not said:
            raise JobFailed(f"{name} ended without a word")
    return took


def _print_silences(silences: dict[int, float]) -> None:
    rows = [[f"beside {busy} processes that compute", f"{found:.2f}", f"at most {_SILENCE_BAR_S}"] for busy, found in silences.items()]
    if rows:
        print_table(["longest silence of a launch, from its start to its end, s", "", "bar"], rows)


def _longest_silence(folder: Path, busy: int) -> float:
    """Seconds between two words of a launch with two workers that starts a Ray, into a pipe, beside so many processes that compute."""
    script = folder / "silence.py"
    script.write_text(_SILENCE_SCRIPT)
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        command = launch_command(str(script), ["--workers", "2", "--run-dir", folder / f"silence-{busy}"], [])
        longest, before = 0.0, time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True) as process:
            assert process.stdout is not None
            while os.read(process.stdout.fileno(), 65536):
                now = time.monotonic()
                longest, before = max(longest, now - before), now
        if process.returncode:
            raise JobFailed(f"the launch that was listened to ended with {process.returncode}")
        return longest
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _ratios(measured: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, Summary]]:
    return {
        name: {peer: paired_ratio(by_system[OURS], by_system[peer]) for peer in by_system if peer != OURS and by_system.get(OURS)}
        for name, by_system in measured.items()
    }


def _rotated(systems: list[str], repeat: int) -> list[str]:
    """Another one goes first each time."""
    first = repeat % len(systems)
    return [*systems[first:], *systems[:first]]


def _short(system: str) -> str:
    return system.replace(" ", "")[:4]  # it becomes part of the paths of Ray's sockets


def _job(system: str, options: argparse.Namespace, place: Path, number: int) -> Job:
    """The job, try `number` of it, in a folder of its own."""
    folder = place.with_name(f"{place.name}-{number}")
    folder.mkdir()
    arguments = ["--workload", "mlp", "--epochs", options.epochs, "--steps", options.steps]
    if system == OURS:
        run = ["--workers", options.workers, "--run-dir", folder / "run", "--timings"]
        return Job(system, launch_command("train.py", run, arguments), folder)
    arguments += ["--first-step", folder / "first-step"]
    if system == RAY_TRAIN:
        return Job(system, peer_command("ray_train.py", [*arguments, "--workers", options.workers, "--ray-folder", folder]), folder)
    return Job(system, torchrun_command("torchrun_train.py", options.workers, arguments), folder)


def _times(system: str, options: argparse.Namespace, place: Path, number: int) -> Times:
    with _job(system, options, place, number) as job:
        whole = job.wait(_LIMIT_S)
        if system != OURS:
            return Times(float((job.folder / "first-step").read_text()) - job.started, whole)
        found = _FIRST_STEP.search(job.output())
        if found is None:
            raise JobFailed(f"{system}: --timings printed no line `first step completed`; it printed:\n{job.output()}")
        return Times(float(found[1]), whole)


def _memory(system: str, options: argparse.Namespace, place: Path, number: int) -> tuple[float, int]:
    with _job(system, options, place, number) as job, MemoryWatch(job) as watch:
        job.wait(_LIMIT_S)
    return watch.peak_mib, watch.processes


if __name__ == "__main__":
    sys.exit(main())
