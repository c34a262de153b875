"""`disttrain status --watch`: the status of a run as a page that follows it, until the run ends; lines where there is no terminal."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from disttrain.cli.stop import LIVE
from disttrain.cli.tables import plain_console, print_status, status_parts, text_of

if TYPE_CHECKING:
    from disttrain.rundir.directory import RunDirectory

_LOOK_S = 0.5
_LINE_S = 5.0  # between two lines of a run whose step alone has changed
_SILENT_S = 10.0  # a driver that lives writes every second
_EVENTS = 8
_BAR = 40  # columns


class Watched:
    """What is known of a run beside its newest status: how fast it steps, and since when its driver has been silent."""

    def __init__(self) -> None:
        self._beat: Any = None
        self._beat_s = 0.0
        self._steps: deque[tuple[float, int]] = deque(maxlen=21)  # of ten seconds

    def look(self, status: dict[str, Any], now_s: float) -> None:
        """A status as it was at `now_s`, of a clock that does not go back."""
        if status.get("beat") != self._beat or not self._beat_s:
            self._beat, self._beat_s = status.get("beat"), now_s
        if isinstance(step := status.get("step"), int):
            if self._steps and step < self._steps[-1][1]:  # it has gone back to a checkpoint, or another fit has begun
                self._steps.clear()
            self._steps.append((now_s, step))

    @property
    def pace(self) -> float | None:
        """Steps a second, over the last looks; None before two of them."""
        if len(self._steps) < 2:
            return None
        (first_s, first), (last_s, last) = self._steps[0], self._steps[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else None

    def silent_s(self, now_s: float) -> float:
        """For so long the driver has written nothing."""
        return now_s - self._beat_s


def watch(directory: RunDirectory, run_dir: str, *, as_json: bool) -> None:
    """Show the run until it ends: a page on a terminal, lines elsewhere, lines of JSON where a program reads."""
    console = plain_console()
    if as_json:
        for status in _statuses(directory):
            print(json.dumps(status), flush=True)
    elif console.is_terminal and not console.is_dumb_terminal:
        _page(directory, run_dir, console)
    else:
        _lines(directory, run_dir)


def _statuses(directory: RunDirectory) -> Iterator[dict[str, Any]]:
    """Each status that says something new, to the end of the run."""
    before: Any = None
    while True:
        status = directory.status()
        told = {name: value for name, value in status.items() if name != "beat"}
        if told != before:
            before = told
            yield status
        if status["state"] not in LIVE:
            return
        time.sleep(_LOOK_S)


def _page(directory: RunDirectory, run_dir: str, console: Console) -> None:
    """On a screen of its own, as `top` has one: what stood on the terminal comes back, and the last status below it."""
    watched = Watched()
    status = directory.status()
    if status["state"] in LIVE:
        with Live(console=console, screen=True, auto_refresh=False, transient=True) as live:
            while status["state"] in LIVE:
                now_s = time.monotonic()
                watched.look(status, now_s)
                live.update(page_of(run_dir, status, watched, directory.recent_events(_EVENTS), now_s), refresh=True)
                time.sleep(_LOOK_S)
                status = directory.status()
    print_status(run_dir, status)


def page_of(run_dir: str, status: dict[str, Any], watched: Watched, events: list[dict[str, Any]], now_s: float) -> RenderableType:
    """The page: what `disttrain status` prints, how far the epoch is, how fast it goes, and what has happened last."""
    head, *rest = status_parts(run_dir, status)
    parts: list[RenderableType] = [head]
    if watched.silent_s(now_s) > _SILENT_S:
        parts.append(Text(f"no word from its driver for {watched.silent_s(now_s):.0f} s", "yellow"))
    done, steps = status.get("step_in_epoch"), status.get("steps_per_epoch")
    if isinstance(done, int) and isinstance(steps, int) and steps:
        pace = watched.pace
        words = f" {done}/{steps}" + ("" if pace is None else f"   {pace:.3g} steps/s")
        row = Table.grid()
        row.add_row(ProgressBar(total=steps, completed=done, width=_BAR), Text(words))
        parts.append(row)
    parts += rest
    if events:
        parts.append(Text("\nlast events", "bold"))
        parts += [Text(_event(event), no_wrap=True, overflow="ellipsis") for event in events]
    parts.append(Text("\nCtrl-C leaves; the run goes on", "dim"))
    return Group(*parts)


def _event(event: dict[str, Any]) -> str:
    at = event.get("time")
    moment = time.strftime("%H:%M:%S", time.localtime(at)) if isinstance(at, int | float) else "        "
    details = "  ".join(f"{name} {value}" for name, value in event.items() if name not in ("time", "event"))
    return text_of(f"{moment}  {event.get('event')}  {details}")


def _lines(directory: RunDirectory, run_dir: str) -> None:
    said_s, said = -_LINE_S, ""
    for status in _statuses(directory):
        line = line_of(run_dir, status)
        key = f"{status['state']} {status.get('phase')} {status.get('epoch')} {len(status.get('workers', []))}"
        now_s = time.monotonic()
        if key != said or now_s - said_s >= _LINE_S:
            print(line, flush=True)
            said_s, said = now_s, key


def line_of(run_dir: str, status: dict[str, Any]) -> str:
    """A status in one line."""
    words = [text_of(run_dir), text_of(status["state"])]
    if status["state"] in LIVE and status.get("phase"):
        words.append(text_of(status["phase"]))
    if "epoch" in status:
        epochs = "" if status.get("epochs") is None else f"/{status['epochs']}"
        words.append(f"epoch {status['epoch']}{epochs}")
    if "step" in status:
        words.append(f"step {status['step']}")
    words += [f"{text_of(name)} {value:.4g}" for name, value in sorted(status.get("logs", {}).items())]
    if status.get("workers"):
        words.append(f"{len(status['workers'])} workers")
    return "  ".join(words)
