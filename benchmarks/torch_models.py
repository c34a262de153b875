"""Models of the hub beside the plain loop: BERT-tiny, GPT-2-tiny, ResNet-18 and ViT-tiny, steps a second of fit in one process.

Each system lives in a process of its own for each model and does about a second of work at a time, in turns. Work is counted in CPU
time, which a busy machine disturbs least; ratios are medians over the turns, and above 1.0 is faster than the plain loop. Models are made
from their settings: nothing is downloaded.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crashes import Crashes
from harness import Summary, paired_ratio, parser, print_table, progress, run_program
from served import Server, rates
from torch_zoo import WORKLOADS

SCRIPTS = {
    "plain loop": ["peers/torch_models_loop.py"],
    "disttrain": ["ours/torch_models.py"],
    "its own AdamW": ["ours/torch_models.py", "--our-optimizer"],
}
BAR = 0.97  # from the project's aims: at least this many times the plain loop


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every model for which there is a package."""
    systems = ["plain loop", *(name for name in options.systems if name != "plain loop")]
    repeats = 3 if options.quick else options.repeats
    crashes, measured = Crashes(), dict[str, dict[str, list[float]]]()
    for name in options.models:
        package = WORKLOADS[name].package
        if find_spec(package) is None:
            print(f"note: without {name}, for {package} is not installed: pip install -e '.[bench-hub]'\n", flush=True)
            continue
        with ExitStack() as stack:
            starts = {system: partial(Server, system, SCRIPTS[system], name, folder) for system in systems}
            servers = [stack.enter_context(crashes.retried(system, start)) for system, start in starts.items()]
            measured[name] = rates(servers, "train", repeats, crashes)
        progress(f"{name}: " + ", ".join(f"{system} {Summary.of(values).median:.1f}/s" for system, values in measured[name].items()))
    rows = []
    for name, found in measured.items():
        base = found["plain loop"]
        ratios = [paired_ratio(found[system], base).text() for system in systems[1:]]
        rows.append([name, f"{Summary.of(base).median:.1f}/s", *ratios])
    print(f"train: speed beside the plain loop (steps per second of CPU time; disttrain's aim is {BAR:.2f} x)")
    print_table(["", *systems], rows)
    crashes.print()
    return {"rates": measured, "crashes": crashes.of}


def main(arguments: list[str] | None = None) -> int:
    """Measure; the exit code."""
    made = parser(__doc__ or "", list(SCRIPTS))
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--models", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS), metavar="MODEL", help="train only these")
    made.add_argument("--repeats", type=int, default=9, help="turns of each system")
    return run_program("torch_models", made.parse_args(arguments), measure)


if __name__ == "__main__":
    sys.exit(main())
