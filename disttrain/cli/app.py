"""The commands and their options."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Annotated, Any

import typer

from disttrain.cli.failures import report_failure

app = typer.Typer(
    name="disttrain",
    help="Keras-like models on PyTorch, trained data-parallel by Ray actors, bit for bit the same whichever workers die.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"disttrain {version('disttrain')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


@app.command(context_settings={"allow_interspersed_args": True})
def launch(
    script: Annotated[str, typer.Argument(help="The training script; what stands after -- goes to it as sys.argv.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="Arguments for the script, after --.")] = None,
    workers: Annotated[int, typer.Option(help="Worker processes.")] = 1,
    virtual_workers: Annotated[
        int | None, typer.Option(help="Slices of each batch; results depend on them and never on workers. [workers]")
    ] = None,
    min_workers: Annotated[int, typer.Option(help="With fewer, training waits for more.")] = 1,
    max_workers: Annotated[int | None, typer.Option(help="Grow up to so many when there is room. [workers]")] = None,
    spares: Annotated[int, typer.Option(help="Warm workers kept beside.")] = 0,
    cpus_per_worker: Annotated[int, typer.Option(help="CPUs, and intra-op threads, of each worker.")] = 1,
    gpus_per_worker: Annotated[float, typer.Option(help="GPUs of each worker.")] = 0,
    run_dir: Annotated[str | None, typer.Option(help="Where the run is kept, any fsspec URL. [runs/SCRIPT]")] = None,
    checkpoint_every: Annotated[str, typer.Option(help="100steps, 30s, 5min or epoch.")] = "epoch",
    keep: Annotated[int, typer.Option(help="Committed checkpoints to keep.")] = 3,
    seed: Annotated[int | None, typer.Option(help="Seed of the run. [0]")] = None,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster: auto or HOST:PORT. [start Ray here]")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew beside what the run directory holds.")] = False,
    take_over: Annotated[bool, typer.Option("--take-over", help="Go on although another driver seems to hold the run.")] = False,
    timings: Annotated[bool, typer.Option("--timings", help="Say where the time goes.")] = False,
) -> None:
    """Train SCRIPT on Ray actors; the same command again resumes it."""
    from disttrain.launch.config import RunConfig
    from disttrain.launch.script import launch as run

    config = RunConfig(
        workers=workers, virtual_workers=virtual_workers, min_workers=min_workers, max_workers=max_workers, spares=spares,
        cpus_per_worker=cpus_per_worker, gpus_per_worker=gpus_per_worker, run_dir=run_dir, checkpoint_every=checkpoint_every,
        keep=keep, seed=seed, address=address, restart=restart, take_over=take_over,
    )  # fmt: skip
    run(config, script, tuple(arguments or ()), show_timings=timings, command=shlex.join(["disttrain", *sys.argv[1:]]))


@app.command()
def status(
    run_dir: Annotated[str, typer.Argument(help="A run directory, any fsspec URL.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What a run does, read from its directory alone."""
    from disttrain.cli.tables import print_status
    from disttrain.launch.run_directory import RunDirectory

    found = RunDirectory(run_dir).status()
    if found["state"] == "empty":
        from disttrain.errors import UsageError

        raise UsageError(f"{run_dir} holds no run.\n  expected  a directory that disttrain launch --run-dir has written")
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        print_status(run_dir, found)


@app.command()
def digest(path: Annotated[str, typer.Argument(help="A run directory, one of its checkpoints, or a saved model.")]) -> None:
    """One sha256 over the weights: equal digests, equal weights, bit for bit."""
    from disttrain.launch.digests import digest_of

    print(digest_of(path))


def main(arguments: list[str] | None = None) -> Any:
    """Run the command; the exit code is the process's."""
    try:
        code = app(arguments, standalone_mode=False)  # what typer makes of Exit, and of Ctrl-C, comes back as a number
    except BaseException as error:
        code = report_failure(error)
    sys.exit(code if isinstance(code, int) else 0)
