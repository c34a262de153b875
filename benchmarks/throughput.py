"""Steps per second in steady state, two workers on one machine: `disttrain launch` against torchrun with a hand-written DDP loop."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from crashes import Crashes
from harness import Job, Summary, launch_command, paired_ratio, parser, print_table, progress, run_program, torchrun_command
from workloads import WORKLOADS

OURS, PEER = "disttrain", "torchrun"
BAR = "at least 0.95"
_LIMIT_S = 900.0


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    made = parser(__doc__ or "", [OURS, PEER])
    made.add_argument("--workloads", nargs="+", choices=sorted(WORKLOADS), default=["mlp", "cnn", "lstm", "wide"], help="models to train")
    made.add_argument("--workers", type=int, default=2, help="processes")
    made.add_argument("--repeats", type=int, default=argparse.SUPPRESS, help="of each system and model (default: 5, quick 1)")
    return run_program("throughput", made.parse_args(arguments), measure)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every workload, the systems alternating."""
    repeats = getattr(options, "repeats", 1 if options.quick else 5)
    results: dict[str, Any] = {}
    crashes = Crashes()
    rows = []
    for name in options.workloads:
        speeds: dict[str, list[float]] = {system: [] for system in options.systems}
        for repeat in range(repeats):
            # whoever goes first changes with each repeat, so that a drift of the machine favours nobody
            for system in options.systems if repeat % 2 == 0 else reversed(options.systems):
                speeds[system].append(crashes.retried(system, partial(_steps_per_second, system, name, options, folder, repeat)))
                progress(f"{name}, repeat {repeat + 1}/{repeats}: {system} {speeds[system][-1]:.1f} steps/s")
        summaries = {system: Summary.of(values) for system, values in speeds.items()}
        ratio = paired_ratio(speeds[OURS], speeds[PEER]) if {OURS, PEER} <= set(speeds) else None
        results[name] = {"steps_per_second": speeds, "summary": summaries, "ratio": ratio}
        rows.append([name, *(summaries[system].text(1) for system in options.systems), ratio.text(3) if ratio else "-", BAR])
    print_table(["steps per second", *options.systems, f"{OURS} / {PEER}", "bar"], rows)
    crashes.print()
    return {"workloads": results, "bar": BAR, "crashes": crashes.of}


def _steps_per_second(system: str, name: str, options: argparse.Namespace, folder: Path, repeat: int, number: int) -> float:
    """Over the median epoch, the first one left out: in it, memory is still being touched for the first time."""
    workload = WORKLOADS[name]
    steps = workload.quick_steps if options.quick else workload.steps
    moments = folder / f"{system}-{name}-{repeat}-{number}.json"
    arguments = ["--workload", name, "--epochs", 3 if options.quick else 7, "--steps", steps, "--moments", moments]
    if system == OURS:
        # The peer saves nothing; ours then saves once, after the last epoch.
        run = ["--workers", options.workers, "--run-dir", folder / f"run-{name}-{repeat}", "--checkpoint-every", "1hour"]
        command = launch_command("train.py", run, arguments)
    else:
        command = torchrun_command("torchrun_train.py", options.workers, arguments)
    with Job(system, command, folder) as job:
        job.wait(_LIMIT_S)
    ends: list[float] = json.loads(moments.read_text())
    return steps / statistics.median(stop - start for start, stop in pairwise(ends))


if __name__ == "__main__":
    sys.exit(main())
