"""One process, one thread: steps a second of fit, evaluate and predict, calls of one sample, and the time to import.

Beside us, alternating within one run: the loop that a person writes by hand (torch.nn, torch.optim.Adam with its defaults), the same
with the fused Adam, Keras 3 on torch, Lightning, Hugging Face Accelerate. Each system lives in a process of its own for each model and
does about a second of work at a time, in turns. Work is counted in CPU time, which a busy machine disturbs least; ratios are medians
over the turns, and above 1.0 is faster than the hand-written loop.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crashes import Crashes
from fit_models import WORKLOADS
from harness import Summary, paired_ratio, parser, print_table, progress, run_program
from served import Server, rates

SCRIPTS = {
    "hand-written": ["peers/fit_torch.py"],
    "disttrain": ["ours/fit.py"],
    "fused Adam": ["peers/fit_torch.py", "--fused"],
    "keras": ["peers/fit_keras.py"],
    "lightning": ["peers/fit_lightning.py"],
    "accelerate": ["peers/fit_accelerate.py"],
}
PACKAGES = {"keras": "keras", "lightning": "lightning", "accelerate": "accelerate"}
KINDS = ["train", "train and accuracy", "evaluate", "predict", "call one", "predict one"]
# From the project's aims: at least this many times the hand-written loop; for one sample at most so many times as slow.
BARS = {"train": 1.0, "evaluate": 1.0, "predict": 1.0, "call one": 1 / 2, "predict one": 1 / 4}
_ONLY_TRAIN = {"lightning", "accelerate"}
_ONE_SAMPLE = "mlp"  # the model whose single calls are measured: others hide the cost of the call
_IMPORTS = {
    "disttrain": "import disttrain",  # rooms load when they are named
    "disttrain with its rooms": "import disttrain as dt; dt.Sequential, dt.layers, dt.losses, dt.metrics, dt.optimizers, dt.callbacks",
    "keras": "import keras",
    "lightning": "import lightning",
    "accelerate": "import accelerate",
}


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every model with every kind of work, then imports."""
    systems = [name for name in options.systems if find_spec(PACKAGES.get(name, "torch")) is not None]
    for name in sorted(set(options.systems) - set(systems)):
        print(f"note: without {name}, which is not installed: pip install -e '.[bench]'\n", flush=True)
    if "hand-written" not in systems:
        systems.insert(0, "hand-written")
    repeats = 3 if options.quick else options.repeats
    crashes = Crashes()
    measured: dict[str, dict[str, dict[str, list[float]]]] = {}
    for workload in options.models:
        with ExitStack() as stack:
            starts = {system: partial(Server, system, SCRIPTS[system], workload, folder) for system in systems}
            servers = [stack.enter_context(crashes.retried(system, start)) for system, start in starts.items()]
            measured[workload] = {kind: _rates(servers, kind, repeats, crashes) for kind in options.kinds if _asked(kind, workload)}
        for kind, found in measured[workload].items():
            progress(f"{workload}, {kind}: " + ", ".join(f"{name} {Summary.of(values).median:.0f}/s" for name, values in found.items()))
    for kind in options.kinds:
        _print(kind, {workload: measured[workload][kind] for workload in measured if kind in measured[workload]}, systems)
    crashes.print()
    imports = {} if options.skip_imports else _imports(systems, repeats)
    return {"rates": measured, "imports": imports, "crashes": crashes.of}


def _asked(kind: str, workload: str) -> bool:
    return workload == _ONE_SAMPLE if kind.endswith("one") else True


def _rates(servers: Sequence[Server], kind: str, repeats: int, crashes: Crashes) -> dict[str, list[float]]:
    return rates([server for server in servers if kind == "train" or server.system not in _ONLY_TRAIN], kind, repeats, crashes)


def _print(kind: str, rates: dict[str, dict[str, list[float]]], systems: Sequence[str]) -> None:
    if not rates:
        return
    unit = "calls" if kind.endswith("one") else "steps"
    bar = f"; disttrain's aim is {BARS[kind]:.2f} x" if kind in BARS else ""
    print(f"{kind}: speed beside the hand-written loop ({unit} per second of CPU time{bar})")
    others = [name for name in systems if name != "hand-written"]
    rows = []
    for workload, found in rates.items():
        base = found["hand-written"]
        ratios = [paired_ratio(found[name], base).text() if name in found else "" for name in others]
        rows.append([workload, f"{Summary.of(base).median:.0f}/s", *ratios])
    print_table(["", "hand-written", *others], rows)


def _imports(systems: Sequence[str], repeats: int) -> dict[str, list[float]]:
    """Seconds that each import adds to `import torch`, in processes of their own, in turns."""
    found: dict[str, list[float]] = {name: [] for name in _IMPORTS if name.split()[0] in systems}
    for _ in range(repeats):
        for name, values in found.items():
            code = f"import torch, time; t = time.process_time(); {_IMPORTS[name]}; print(time.process_time() - t)"
            environment = {**os.environ, "KERAS_BACKEND": "torch"}
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True, cwd="/")
            values.append(float(done.stdout.split()[-1]))
    print("import: seconds of CPU time added to `import torch` (disttrain's aim is at most 0.15)")
    print_table(["", "seconds"], [[name, Summary.of(values).text()] for name, values in found.items()])
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure; the exit code."""
    made = parser(__doc__ or "", list(SCRIPTS))
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--models", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS), metavar="MODEL", help="train only these")
    made.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, metavar="KIND", help=f"measure only these: {', '.join(KINDS)}")
    made.add_argument("--repeats", type=int, default=9, help="turns of each system")
    made.add_argument("--skip-imports", action="store_true", help="do not measure imports")
    return run_program("fit", made.parse_args(arguments), measure)


if __name__ == "__main__":
    sys.exit(main())
