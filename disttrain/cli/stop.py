"""`disttrain stop`: Ctrl-C for a run, from another terminal or another machine."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from disttrain.cli.missing import looking_at, no_run
from disttrain.cli.tables import text_of
from disttrain.errors import InfrastructureError

_LOOK_S = 0.25
_SILENT_S = 30.0  # a driver that lives writes every second
LIVE = ("running", "starting")


def stop(
    run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run directory, any fsspec URL: its driver may be anywhere.")],
    now: Annotated[bool, typer.Option("--now", help="Do not finish the step, as Ctrl-C twice.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the run has ended.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the state it ends in as JSON.")] = False,
) -> None:
    """Ask a run to finish its step, keep a checkpoint and end, as Ctrl-C does; the same launch goes on from there.

    Example: disttrain stop runs/train
    """
    from disttrain.rundir.directory import RunDirectory  # late: each command loads what it needs

    directory = RunDirectory(run_dir)
    with looking_at(run_dir):
        status = directory.status()
        if status["state"] == "empty":
            raise no_run(run_dir)
        was_live = status["state"] in LIVE
        if was_live:
            directory.ask_to_stop(now=now)
            if not as_json:
                how = "to end at once" if now else "to finish its step and keep it"
                print(f"{text_of(run_dir)}: asked {how}, {_driver(status)}", flush=True)
            if wait:
                status = _ended(directory, run_dir)
    if as_json:
        print(json.dumps({name: status[name] for name in ("state", "attempt", "epoch", "step") if name in status}))
    elif not was_live:
        print(f"{text_of(run_dir)}: {text_of(status['state'])}; there is nothing to stop")
    elif wait:
        print(f"{text_of(run_dir)}: {text_of(status['state'])}{_where(status)}")


def _ended(directory: Any, run_dir: str) -> dict[str, Any]:
    """The status of the run once its driver has recorded an end."""
    said_s, beat = time.monotonic(), None
    while True:
        status: dict[str, Any] = directory.status()
        if status["state"] not in LIVE:
            return status
        if status.get("beat") != beat:
            said_s, beat = time.monotonic(), status.get("beat")
        elif time.monotonic() - said_s > _SILENT_S:
            raise InfrastructureError(
                f"{run_dir}: nothing has been heard of its {_driver(status)} for {_SILENT_S:.0f} s.\n"
                "  expected  a driver that lives and reaches this storage\n"
                "  try       end that process; if it is gone already, the same launch with --take-over goes on"
            )
        time.sleep(_LOOK_S)


def _driver(status: dict[str, Any]) -> str:
    driver = status.get("driver", {})
    return f"driver pid {text_of(driver.get('pid'))} on {text_of(driver.get('host'))}"


def _where(status: dict[str, Any]) -> str:
    epochs = "" if status.get("epochs") is None else f"/{status['epochs']}"
    return f" in epoch {status['epoch']}{epochs}, at step {status.get('step', '?')}" if "epoch" in status else ""
