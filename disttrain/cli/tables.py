"""Tables for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def plain_console() -> Console:
    """Prints text as it is: names and paths of people are no markup, whatever brackets and colons they have, and lines are not broken."""
    return Console(markup=False, emoji=False, soft_wrap=True)


def print_status(run_dir: str, status: dict[str, Any]) -> None:
    """The status of a run as a person reads it."""
    console = plain_console()
    driver = status.get("driver", {})
    where = f"driver pid {driver.get('pid')} on {driver.get('host')}"
    console.print(Text(run_dir, "bold"), f" {status['state']}   attempt {status.get('attempt')}, {where}")
    if "problem" in status:
        console.print(Text(status["problem"], "yellow"))
    if "epoch" in status:
        logs = "  ".join(f"{name} {value:.4g}" for name, value in sorted(status.get("logs", {}).items()))
        console.print(
            f"call {status['call']} ({status['kind']})  epoch {status['epoch']}/{status['epochs']}  "
            f"step {status['step']} ({status['step_in_epoch']}/{status['steps_per_epoch']} of the epoch)  generation {status['generation']}"
        )
        console.print(logs)
    if status.get("workers"):
        table = Table("rank", "worker", "pid", "host", "virtual ranks")
        for worker in status["workers"]:
            table.add_row(
                str(worker["rank"]), worker["worker"], str(worker["pid"]), worker["host"], ", ".join(map(str, worker["virtual_ranks"]))
            )
        console.print(table)
    table = Table("committed checkpoint", "step")
    for checkpoint in status["checkpoints"]:
        table.add_row(checkpoint["name"] + ("  damaged" if checkpoint.get("damaged") else ""), str(checkpoint["step"]))
    console.print(table if status["checkpoints"] else "no committed checkpoint yet")
