"""Tables for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def print_status(run_dir: str, status: dict[str, Any]) -> None:
    """The status of a run as a person reads it."""
    console = Console()
    driver = status.get("driver", {})
    where = f"driver pid {driver.get('pid')} on {driver.get('host')}"
    console.print(f"[bold]{run_dir}[/bold]  {status['state']}   attempt {status.get('attempt')}, {where}")
    if "problem" in status:
        console.print(f"[yellow]{escape(status['problem'])}[/yellow]")
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
