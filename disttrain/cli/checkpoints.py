"""`disttrain checkpoints`: what a run has saved, looked at, checked, compared, thinned out and copied."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from disttrain.cli.missing import looking_at
from disttrain.cli.tables import ago, plain_console, size_words, text_of
from disttrain.redaction import hidden

checkpoints = typer.Typer(
    name="checkpoints",
    help="What runs have saved: list, show, verify, compare, delete and copy checkpoints.\n\nExample: disttrain checkpoints ls runs/train",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_RUN = "A run directory, any fsspec URL, or one of its checkpoints: RUN/step-..."
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Step = Annotated[int | None, typer.Option(help="The checkpoint of this step.", show_default="the newest that is whole")]


@checkpoints.command()
def ls(
    folder: Annotated[str, typer.Argument(metavar="URL", help="A run directory, or a folder of them, any fsspec URL.")] = "runs",
    as_json: _Json = False,
) -> None:
    """The checkpoints: step, epoch, age, size, how much of it the one before had too, metrics.

    Example: disttrain checkpoints ls runs/train
    """
    from disttrain.rundir.checkpoint_list import listed  # late: each command loads what it needs

    with _at(folder):
        found = listed(folder)
    if as_json:
        _print([asdict(one) for one in found])
        return
    several = len({one.run for one in found}) > 1
    table = Table(*(["run"] if several else []), "checkpoint", "step", "epoch", "saved", "size", "unchanged", "metrics", "")
    for one in found:
        row = [text_of(hidden(one.run))] if several else []
        unchanged = "" if not one.holds_bytes or one.unchanged_bytes is None else f"{one.unchanged_bytes / one.holds_bytes:.0%}"
        table.add_row(
            *row, one.name, str(one.step), "" if one.epoch is None else str(one.epoch), ago(one.age_s), size_words(one.size_bytes),
            unchanged, _metrics(one.metrics), text_of(_remark(one)),
        )  # fmt: skip
    plain_console().print(table if found else f"{text_of(hidden(folder))} has no checkpoint yet")


@checkpoints.command()
def show(
    run: Annotated[str, typer.Argument(metavar="URL", help=_RUN)],
    step: _Step = None,
    as_json: _Json = False,
) -> None:
    """All that one says of itself: where it stands in the training, its files, its tensors.

    Example: disttrain checkpoints show runs/train
    """
    from disttrain.rundir.checkpoint_list import described  # late: each command loads what it needs

    with _at(run):
        found = described(run, step)
    if as_json:
        _print(found)
        return
    console = plain_console()
    console.print(f"{text_of(hidden(found['run']))}/{found['name']}  {size_words(found['size_bytes'])}  {ago(found['age_s'])}")
    names = ("step", "epoch", "call", "kind", "attempt", "seed", "virtual_workers", "audited")
    console.print("  ".join(f"{name.replace('_', ' ')} {text_of(found[name])}" for name in names if found.get(name) is not None))
    console.print(_metrics(found["metrics"]))
    if found["callbacks"]:
        console.print(f"with the state of {text_of(', '.join(found['callbacks']))}")
    table = Table("tensor", "dtype", "shape", "size")
    for one in found["tensors"]:
        table.add_row(text_of(one["name"]), one["dtype"], str(one["shape"]), size_words(one["bytes"]))
    console.print(table)


@checkpoints.command()
def verify(
    run: Annotated[str, typer.Argument(metavar="URL", help=_RUN)],
    step: Annotated[int | None, typer.Option(help="Only the checkpoint of this step.", show_default="all")] = None,
    as_json: _Json = False,
) -> None:
    """Read every byte and compare it with its digest; exit code 1 where one is wrong. Nothing is changed.

    Example: disttrain checkpoints verify runs/train
    """
    from disttrain.rundir.checkpoint_list import verified  # late: each command loads what it needs

    with _at(run):
        found = verified(run, step)
    if as_json:
        _print([asdict(one) for one in found])
    else:
        for one in found:
            said = f"whole, {size_words(one.size_bytes)}" if one.problem is None else f"damaged\n  {one.problem}"
            plain_console().print(f"{one.name}  {text_of_lines(said)}")
    if any(one.problem is not None for one in found):
        raise typer.Exit(1)


@checkpoints.command()
def diff(
    first: Annotated[str, typer.Argument(metavar="URL", help=_RUN)],
    second: Annotated[str, typer.Argument(metavar="URL", help="Another, or the same run's.")],
    as_json: _Json = False,
) -> None:
    """Which tensors and metrics of two checkpoints differ, and by how much; exit code 1 where tensors do.

    Example: disttrain checkpoints diff runs/train runs/train
    """
    from disttrain.rundir.checkpoint_diff import difference  # late: each command loads what it needs

    with _at(first, second):
        found = difference(first, second)
    if as_json:
        _print(asdict(found))
    else:
        console = plain_console()
        console.print(f"{text_of(hidden(found.first))}\n{text_of(hidden(found.second))}")
        for words, names in (("only in the first", found.only_first), ("only in the second", found.only_second)):
            for name in names:
                console.print(f"{words}: {text_of(name)}")
        table = Table("tensor", "elements that differ", "largest difference")
        for one in found.changed:
            what = f"{one.first}, then {one.second}" if one.elements is None else f"{one.elements} of {one.first}"
            table.add_row(text_of(one.name), what, "" if one.largest is None else f"{one.largest:.4g}")
        if found.changed:
            console.print(table)
        for name, (one_value, other) in found.metrics.items():
            console.print(f"{text_of(name)}: {_number(one_value)}, then {_number(other)}")
        console.print(f"{found.equal} tensors have the same bits")
    if not found.same:
        raise typer.Exit(1)


@checkpoints.command()
def prune(
    run: Annotated[str, typer.Argument(metavar="URL", help="A run directory, any fsspec URL, in which no driver is at work.")],
    keep: Annotated[int, typer.Option(help="So many of the newest stay, and those with results of finished calls.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; delete nothing.")] = False,
    as_json: _Json = False,
) -> None:
    """Delete old checkpoints, what a fresh start has cut off, and what saves that were cut short have left.

    The newest that is whole stays in any case; it is read for that.

    Example: disttrain checkpoints prune runs/train --keep 1 --dry-run
    """
    from disttrain.rundir.checkpoint_prune import prune as run_it  # late: each command loads what it needs

    with _at(run):
        done = run_it(run, keep, dry_run=dry_run)
    if as_json:
        _print({**asdict(done), "dry_run": dry_run})
        return
    console, would = plain_console(), "would delete" if dry_run else "deleted"
    for name in done.deleted:
        console.print(f"{would} {name}")
    console.print(f"{would} {len(done.deleted)} checkpoints, {size_words(done.bytes)}; {len(done.kept)} stay")


@checkpoints.command()
def copy(
    run: Annotated[str, typer.Argument(metavar="URL", help=_RUN)],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Another place, any fsspec URL: a run directory to go on with.")],
    step: _Step = None,
    everything: Annotated[bool, typer.Option("--all", help="Each checkpoint that a resume may choose.")] = False,
    as_json: _Json = False,
) -> None:
    """Bring a checkpoint to another place, with what a launch needs to go on there; every byte is checked. Again goes on where it stopped.

    Example: disttrain checkpoints copy runs/train runs/kept
    """
    from disttrain.rundir.checkpoint_copy import copy as run_it  # late: each command loads what it needs

    with _at(run, target):
        done = run_it(run, target, step, all_of_them=everything)
    if as_json:
        _print(asdict(done))
        return
    for reason in done.skipped:
        plain_console().print(f"warning: passed over, {text_of(reason.splitlines()[0])}")
    names = ", ".join(done.checkpoints)
    plain_console().print(f"{text_of(hidden(done.run))} holds {names}, {size_words(done.bytes)}, and what a launch needs to go on")


def text_of_lines(text: str) -> str:
    """Only text, line by line."""
    return "\n".join(text_of(line) for line in text.splitlines())


@contextmanager
def _at(*places: str) -> Iterator[None]:
    with looking_at(places[0]):
        yield


def _print(found: Any) -> None:
    print(json.dumps(_in_json(found), indent=1))


def _in_json(found: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(found, dict):
        return {name: _in_json(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [_in_json(value) for value in found]
    return None if isinstance(found, float) and not math.isfinite(found) else found


def _remark(one: Any) -> str:
    said = [one.problem] if one.problem else []
    said += ["result of call " + ", ".join(map(str, one.result_of))] if one.result_of else []
    said += [] if one.counts else ["cut off by a later start"]
    return "; ".join(said)


def _metrics(metrics: dict[str, float]) -> str:
    return "  ".join(f"{text_of(name)} {value:.4g}" for name, value in sorted(metrics.items()))


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"
