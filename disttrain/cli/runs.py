"""`disttrain runs` and `disttrain logs`: what lies in run directories, for people and programs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from disttrain.cli.missing import looking_at, no_run
from disttrain.cli.tables import ago, plain_console, size_words, text_of
from disttrain.errors import UsageError

if TYPE_CHECKING:
    from disttrain.rundir.directory import RunDirectory

_LOOK_S = 1.0


def runs(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A folder of run directories, any fsspec URL.")] = "runs",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """The runs of a folder: state, epoch, step, the best loss, age and size.

    Example: disttrain runs runs
    """
    from disttrain.rundir.summaries import runs_in  # late: each command loads what it needs

    with looking_at(folder):
        found = runs_in(folder)
    if as_json:
        print(json.dumps([asdict(run) for run in found], indent=1))
        return
    if not found:
        raise UsageError(f"{folder} holds no run.\n  expected  a folder of run directories, such as runs/")
    console = plain_console()
    table = Table("run", "state", "epoch", "step", "best", "begun", "size")
    for run in found:
        epoch = "" if run.epoch is None else f"{run.epoch}/{run.epochs}" if run.epochs is not None else str(run.epoch)
        best = "" if run.best is None else f"{run.metric} {run.best:.4g}"
        table.add_row(
            text_of(run.run),
            text_of(run.state),
            epoch,
            "" if run.step is None else str(run.step),
            best,
            ago(run.age_s),
            size_words(run.size_bytes),
        )
    console.print(table)
    for run in found:
        if run.problem:
            console.print(f"{text_of(run.run)}: {text_of(run.problem)}")


def logs(
    run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run directory, any fsspec URL.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on while the run does.")] = False,
    worker: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only of this worker, such as w2; script for the script's own.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print lines of JSON.")] = False,
) -> None:
    """What the script and the workers of a run printed, with time, name and rank; also after the run.

    Example: disttrain logs runs/train --worker w0
    """
    from disttrain.rundir.directory import RunDirectory  # late: each command loads what it needs

    directory = RunDirectory(run_dir)
    with looking_at(run_dir):
        if directory.status()["state"] == "empty":
            raise no_run(run_dir)
        seen = set()
        for line in _followed(directory) if follow else directory.prints():
            seen.add(line["source"])
            if worker is None or line["source"] == worker:
                print(json.dumps(line) if as_json else _shown(line), flush=follow)
    if worker is not None and worker not in seen:
        told = ", ".join(sorted(seen)) if seen else "a run whose script or workers print"
        raise UsageError(f"--worker {worker}: nothing of it is kept.\n  expected  {told}")


def _followed(directory: RunDirectory) -> Iterator[dict[str, Any]]:
    done, known = 0, None
    while True:
        ended = directory.status()["state"] not in ("running", "starting")  # asked first: what came before the end is still read
        now = directory.prints_size()
        if now != known:
            for number, line in enumerate(directory.prints()):
                if number >= done:
                    done = number + 1
                    yield line
            known = now
        if ended:
            return
        time.sleep(_LOOK_S)


def _shown(line: dict[str, Any]) -> str:
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line["time"]))
    rank = f" rank {line['rank']}" if isinstance(line.get("rank"), int) else ""
    error = " (stderr)" if line["stream"] == "stderr" else ""
    return f"{moment} {text_of(line['source'])}{rank}{error}: {text_of(line['text'])}"
