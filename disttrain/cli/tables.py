"""Tables for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from disttrain.redaction import hidden


def plain_console() -> Console:
    """Prints text as it is: names and paths of people are no markup, whatever brackets and colons they have, and lines are not broken."""
    return Console(markup=False, emoji=False, soft_wrap=True)


def print_status(run_dir: str, status: dict[str, Any]) -> None:
    """The status of a run as a person reads it."""
    console = plain_console()
    for part in status_parts(run_dir, status):
        console.print(part)


def status_parts(run_dir: str, status: dict[str, Any]) -> list[RenderableType]:
    """The same, part by part, the first of which says which run it is. Whatever stands in it, only text: no control characters."""
    driver = status.get("driver", {})
    where = f"driver pid {text_of(driver.get('pid'))} on {text_of(driver.get('host'))}"
    parts: list[RenderableType] = [
        Text.assemble(
            (text_of(hidden(run_dir)), "bold"), f"  {text_of(status['state'])}   attempt {text_of(status.get('attempt'))}, {where}"
        )
    ]
    logs = "  ".join(f"{name} {value:.4g}" for name, value in sorted(status.get("logs", {}).items()))
    if "problem" in status:
        parts.append(Text(text_of(status["problem"]), "yellow"))
    if status["state"] not in ("running", "starting") and "epoch" in status:
        epochs = "" if status.get("epochs") is None else f"/{status['epochs']}"
        parts += [Text(f"epoch {status['epoch']}{epochs}  step {status.get('step', '?')}"), Text(text_of(logs))]
    elif all(name in status for name in ("call", "kind", "epoch", "epochs", "step", "step_in_epoch", "steps_per_epoch", "generation")):
        line = (
            f"call {status['call']} ({text_of(status['kind'])})  epoch {status['epoch']}/{status['epochs']}  "
            f"step {status['step']} ({status['step_in_epoch']}/{status['steps_per_epoch']} of the epoch)  generation {status['generation']}"
        )
        parts += [Text(line), Text(text_of(logs))]
    if status.get("workers"):
        table = Table("rank", "worker", "pid", "host", "virtual ranks")
        for worker in status["workers"]:
            ranks = ", ".join(map(str, worker["virtual_ranks"]))
            table.add_row(str(worker["rank"]), text_of(worker["worker"]), str(worker["pid"]), text_of(worker["host"]), ranks)
        parts.append(table)
    table = Table("committed checkpoint", "step")
    for checkpoint in status["checkpoints"]:
        table.add_row(checkpoint["name"] + ("  damaged" if checkpoint.get("damaged") else ""), str(checkpoint["step"]))
    parts.append(table if status["checkpoints"] else Text("no committed checkpoint yet"))
    return parts


def print_sources(options: list[tuple[str, Any, str]]) -> None:
    """What each option is, and where that comes from."""
    table = Table("option", "value", "from")
    for name, value, where in options:
        table.add_row(name, "" if value is None else text_of(hidden(str(value))), text_of(where))
    plain_console().print(table)


def text_of(value: Any) -> str:
    """Only text: no control characters."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(value))


def ago(seconds: float | None) -> str:
    """How long that is, in the largest unit."""
    if seconds is None:
        return ""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def size_words(count: int | None) -> str:
    """So many bytes."""
    if count is None:
        return ""
    for unit, length in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} B"
