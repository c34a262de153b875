"""`disttrain doctor`: is this machine ready, and what to do where it is not."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from disttrain.cli.tables import plain_console, text_of

_MARKS = {"ok": "ok", "warning": "look", "wrong": "WRONG"}


def doctor(
    address: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="A Ray cluster that shall be joined.")] = None,
    run_dir: Annotated[str | None, typer.Option(help="Where a run shall be kept, any fsspec URL: it is tried with a small file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at what launches need: versions, kernels, ports, storage, memory, limits, clock, GPUs; what to do stands beside.

    Ends with 2 where something is wrong, with 0 else.

    Example: disttrain doctor --run-dir runs/train
    """
    from disttrain.launch.doctor import examine  # late: each command loads what it needs

    found = examine(address, run_dir)
    if as_json:
        print(json.dumps([asdict(finding) for finding in found], indent=1))
    else:
        table = Table("", "what", "found", "what to do")
        for finding in found:
            table.add_row(_MARKS[finding.state], finding.name, text_of(finding.found), text_of(finding.todo))
        plain_console().print(table)
    if any(finding.state == "wrong" for finding in found):
        raise typer.Exit(2)
