"""What it costs to look whether workers compute the same: digests, the probe at the door, and audits.

The first table is of one process: a digest of the whole state and the probe beside a step of the same model, medians over turns of each.
The second is of launches with two workers: steps per second with the option and without, in turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from harness import Job, Summary, launch_command, paired_ratio, parser, print_table, progress, run_program
from workloads import WORKLOADS, arrays

PLAIN = "plain"
OPTIONS = {"audit 1%": ["--audit", "1%"], "audit 10%": ["--audit", "10%"], "digest 10": ["--digest-every", 10]}
EVERY = 100  # steps between two checkpoints, for the share that their digests take
BARS = {"digest": "below 1 %", "audit 1%": "0.99", "audit 10%": "0.90", "digest 10": "-"}
_LIMIT_S = 900.0


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    made = parser(__doc__ or "", [PLAIN, *OPTIONS])
    made.add_argument("--workloads", nargs="+", choices=sorted(WORKLOADS), default=["mlp", "cnn", "lstm", "wide"], help="models to train")
    made.add_argument("--repeats", type=int, default=argparse.SUPPRESS, help="of each launch (default: 5, quick 1); 0 for none")
    return run_program("audit", made.parse_args(arguments), measure)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Both tables."""
    alone = {name: _alone(name, 5 if options.quick else 30) for name in options.workloads}
    rows = [
        [
            name, f"{seconds['step'] * 1e3:.2f}", f"{seconds['bytes'] / 1e6:.1f}", f"{seconds['digest'] * 1e3:.3f}",
            f"{seconds['digest'] / seconds['step'] / EVERY:.3%}", BARS["digest"], f"{seconds['piece'] / seconds['step']:.2%}",
            f"{seconds['probe'] / seconds['step']:.2f}",
        ]
        for name, seconds in alone.items()
    ]  # fmt: skip
    heads = ["one process", "step ms", "state MB", "digest ms", f"a digest every {EVERY} steps", "bar", "audits, each step", "probe / step"]
    print_table(heads, rows)
    repeats = getattr(options, "repeats", 1 if options.quick else 5)
    launched = {name: _launched(name, options, folder, repeats) for name in options.workloads if repeats}
    return {"alone": alone, "launched": launched, "bars": BARS}


def _alone(name: str, turns: int) -> dict[str, float]:
    """Seconds of a step, of a digest, of a probe, and of what audits add to each step: the digest of a piece of the state."""
    # late: the launches need none of it
    from ours.models import compile_as_the_peers_do, model

    from disttrain.elastic.shard_writer import state_digest
    from disttrain.training.local import runner
    from disttrain.training.step.audit import StatePieces
    from disttrain.training.step.engine import Engine
    from disttrain.training.step.probe import probe

    job: Any = None

    class Captured(runner.LocalRunner):
        def fit(self, made: Any, callbacks: Any) -> None:
            nonlocal job
            job = made

    x, y = arrays(name, 2 * turns + 4)
    network = model(name)
    compile_as_the_peers_do(network)
    with runner.installed(Captured(runner._InProcess(2, 1))):
        network.fit(x, y, batch_size=WORKLOADS[name].batch_size, verbose=0)
    with runner.intra_op_threads(1):
        engine = Engine(job)
        pieces = StatePieces(engine.workspace.state)
        work: dict[str, Callable[[], Any]] = {
            "step": lambda: engine.run_tick(engine.position),
            "digest": lambda: state_digest(engine.replica.state_dict()),
            "probe": lambda: probe(engine),
            "piece": lambda: pieces.digest(0, engine.tick),
        }
        seconds: dict[str, list[float]] = {what: [] for what in work}
        for _ in range(turns + 2):
            for what, do in work.items():
                began = time.perf_counter()
                do()
                seconds[what].append(time.perf_counter() - began)
        nbytes = sum(tensor.numel() * tensor.element_size() for tensor in engine.replica.state_dict().tensors.values())
    return {**{what: statistics.median(each[2:]) for what, each in seconds.items()}, "bytes": nbytes}


def _launched(name: str, options: argparse.Namespace, folder: Path, repeats: int) -> dict[str, Any]:
    """Steps per second of each, in turns."""
    speeds: dict[str, list[float]] = {system: [] for system in options.systems}
    for repeat in range(repeats):
        for system in options.systems if repeat % 2 == 0 else reversed(options.systems):
            speeds[system].append(_steps_per_second(system, name, options, folder, repeat))
            progress(f"{name}, repeat {repeat + 1}/{repeats}: {system} {speeds[system][-1]:.1f} steps/s")
    ratios = {system: paired_ratio(speeds[system], speeds[PLAIN]) for system in speeds if system != PLAIN and PLAIN in speeds}
    rows = [[system, Summary.of(values).text(1), *_ratio(system, ratios)] for system, values in speeds.items()]
    print_table([f"{name}, two workers", "steps per second", f"with / {PLAIN}", "bar"], rows)
    return {"steps_per_second": speeds, "ratios": ratios}


def _ratio(system: str, ratios: dict[str, Summary]) -> list[str]:
    return [ratios[system].text(3), BARS[system]] if system in ratios else ["-", "-"]


def _steps_per_second(system: str, name: str, options: argparse.Namespace, folder: Path, repeat: int) -> float:
    """Over the median epoch, the first one left out."""
    workload = WORKLOADS[name]
    steps = workload.quick_steps if options.quick else workload.steps
    label = system.replace(" ", "-").replace("%", "")
    moments = folder / f"{label}-{name}-{repeat}.json"
    arguments = ["--workload", name, "--epochs", 3 if options.quick else 7, "--steps", steps, "--moments", moments]
    run = ["--workers", 2, "--run-dir", folder / f"run-{label}-{name}-{repeat}", "--checkpoint-every", "1hour", *OPTIONS.get(system, [])]
    with Job(label, launch_command("train.py", run, arguments), folder) as job:
        job.wait(_LIMIT_S)
    ends: list[float] = json.loads(moments.read_text())
    return steps / statistics.median(stop - start for start, stop in pairwise(ends))


if __name__ == "__main__":
    sys.exit(main())
