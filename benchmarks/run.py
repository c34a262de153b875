"""Every benchmark, one after the other: what `make bench` runs. Exits with the first failure's code, after all have run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import audit
import checkpoint
import control_plane
import fit
import recovery
import startup
import throughput
import torch_models
import viewer

PROGRAMS = {
    "fit": fit.main,
    "torch_models": torch_models.main,
    "throughput": throughput.main,
    "startup": startup.main,
    "recovery": recovery.main,
    "control_plane": control_plane.main,
    "audit": audit.main,
    "checkpoint": checkpoint.main,
    "viewer": viewer.main,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few and short repeats")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="write NAME.json of each benchmark into FOLDER")
    options = parser.parse_args(arguments)
    if options.json is not None:
        options.json.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name, program in PROGRAMS.items():
        passed_on = (["--quick"] if options.quick else []) + (["--json", str(options.json / f"{name}.json")] if options.json else [])
        code = program(passed_on)
        if code == 130:
            return code
        failed = failed or code
    return failed


if __name__ == "__main__":
    sys.exit(main())
