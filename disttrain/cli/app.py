"""The commands and their options."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from disttrain.cli.checkpoints import checkpoints
from disttrain.cli.doctor import doctor
from disttrain.cli.export import export
from disttrain.cli.failures import report_failure
from disttrain.cli.leaving import leave
from disttrain.cli.missing import looking_at, no_run
from disttrain.cli.runs import logs, runs
from disttrain.cli.script_arguments import with_advice
from disttrain.cli.settings_file import settings_here, sources, table_of
from disttrain.cli.simulate import simulate
from disttrain.cli.stop import stop
from disttrain.cli.streams import lasting_streams
from disttrain.cli.tables import print_sources
from disttrain.errors import UsageError
from disttrain.launch.stopping import stopped_by_signals

app = typer.Typer(
    name="disttrain",
    help="Keras-like models on PyTorch, trained data-parallel by Ray actors, bit for bit the same whichever workers die.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version  # late: each command loads what it needs

        print(f"disttrain {version('disttrain')}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    if context.invoked_subcommand == "launch":
        settings, file = settings_here(launch)
        context.default_map, context.obj = {"launch": settings}, file


def _one_of(*words: str) -> Callable[[str], list[str]]:
    """What a shell completes of an option that takes one of these."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]  # typer looks at the name


class _Launch(TyperCommand):
    """Its help names the variables of the environment once, not beside each option."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        for parameter in self.params:
            if hasattr(parameter, "show_envvar"):
                parameter.show_envvar = False


@app.command(cls=_Launch, context_settings={"allow_interspersed_args": True, "auto_envvar_prefix": "DISTTRAIN_LAUNCH"})
def launch(
    context: typer.Context,
    script: Annotated[str, typer.Argument(help="The training script; what stands after -- goes to it as sys.argv.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="Arguments for the script, after --.")] = None,
    workers: Annotated[int, typer.Option(help="Worker processes.")] = 1,
    virtual_workers: Annotated[
        int | None, typer.Option(help="Slices of each batch; results depend on them and never on workers.", show_default="--workers")
    ] = None,
    min_workers: Annotated[int, typer.Option(help="With fewer, training waits for more.")] = 1,
    max_workers: Annotated[int | None, typer.Option(help="Grow up to so many when there is room.", show_default="--workers")] = None,
    spares: Annotated[int, typer.Option(help="Warm workers kept beside.")] = 0,
    cpus_per_worker: Annotated[int, typer.Option(help="CPUs, and intra-op threads, of each worker.")] = 1,
    device: Annotated[
        str,
        typer.Option(
            help="cpu, cuda, or auto: CUDA where it is there. GPUs are experimental: tested on fakes, never yet on a GPU.",
            autocompletion=_one_of("auto", "cpu", "cuda"),
        ),
    ] = "auto",
    gpus_per_worker: Annotated[
        float | None, typer.Option(help="1, or a share such as 0.5: then workers share a GPU.", show_default="1 on CUDA")
    ] = None,
    transport: Annotated[
        str,
        typer.Option(
            help="Between GPUs: nccl, host (over the machines' memory), or auto: host where two workers share a GPU.",
            autocompletion=_one_of("auto", "host", "nccl"),
        ),
    ] = "auto",
    run_dir: Annotated[str | None, typer.Option(help="Where the run is kept, any fsspec URL.", show_default="runs/SCRIPT")] = None,
    storage_options: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="For fsspec, to reach the storage of --run-dir. Secrets: in DISTTRAIN_LAUNCH_STORAGE_OPTIONS.",
            show_default="what the environment says",
        ),
    ] = None,
    checkpoint_every: Annotated[
        str, typer.Option(help="100steps, 30s, 5min or epoch.", autocompletion=_one_of("100steps", "30s", "5min", "epoch"))
    ] = "epoch",
    keep: Annotated[int, typer.Option(help="Committed checkpoints to keep.")] = 3,
    on_checkpoint_failure: Annotated[
        str,
        typer.Option(
            metavar="stop|continue",
            help="Where storage does not take a checkpoint: train on and try again, or stop.",
            autocompletion=_one_of("continue", "stop"),
        ),
    ] = "continue",
    seed: Annotated[int | None, typer.Option(help="Seed of the run.", show_default="0")] = None,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster: auto or HOST:PORT.", show_default="starts Ray here")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew: beside the run, or in --run-dir.")] = False,
    step: Annotated[
        int | None, typer.Option(help="Go on from the checkpoint of this step, not from the newest; disttrain status shows them.")
    ] = None,
    take_over: Annotated[bool, typer.Option("--take-over", help="Go on although another driver seems to hold the run.")] = False,
    hang_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="A worker without progress for so long hangs and is replaced; by default that follows the measured steps.",
        ),
    ] = None,
    digest_every: Annotated[
        int | None, typer.Option(metavar="STEPS", help="Compare the workers' bits so often, beside at every checkpoint.")
    ] = None,
    admission: Annotated[
        bool, typer.Option("--admission/--no-admission", help="Let only workers in that get the same bits of one slice as the others.")
    ] = True,
    audit: Annotated[
        str | None, typer.Option(metavar="SHARE", help="Compute so much a second time on another worker, 1% say, and compare.")
    ] = None,
    kernels: Annotated[
        str,
        typer.Option(
            help="common: the same bits on processors of different makes; own: each one's best.", autocompletion=_one_of("common", "own")
        ),
    ] = "own",
    determinism: Annotated[
        bool, typer.Option("--determinism/--no-determinism", help="On GPUs, compute so that a step has one result; CPUs always do.")
    ] = True,
    samples: Annotated[int, typer.Option(help="Samples of the validation data kept in the run directory for disttrain view.")] = 16,
    timings: Annotated[bool, typer.Option("--timings", help="Say where the time goes.")] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Say what each option is and where that comes from; start nothing.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compute one batch of the first call here, say what would start; start and write nothing.")
    ] = False,
) -> None:
    """Train SCRIPT on Ray actors; the same command again resumes it.

    Options may stand in disttrain.toml, or in [tool.disttrain] of pyproject.toml. Flags go before the environment
    (DISTTRAIN_LAUNCH_WORKERS), that goes before the file.

    Example: disttrain launch train.py --workers 2 --run-dir runs/train -- --epochs 5
    """
    from disttrain.launch.config import RunConfig  # late: each command loads what it needs
    from disttrain.launch.script import launch as run

    config = RunConfig(
        workers=workers, virtual_workers=virtual_workers, min_workers=min_workers, max_workers=max_workers, spares=spares,
        cpus_per_worker=cpus_per_worker, device=device, gpus_per_worker=gpus_per_worker, run_dir=run_dir,
        storage_options=None if storage_options is None else table_of("--storage-options", storage_options),
        checkpoint_every=checkpoint_every, on_checkpoint_failure=on_checkpoint_failure, keep=keep, seed=seed, address=address,
        restart=restart, take_over=take_over, step=step,
        samples=samples, hang_timeout_s=hang_timeout, digest_every=digest_every, admission=admission, audit=audit, kernels=kernels,
        determinism=determinism, transport=transport,
    )  # fmt: skip
    if print_config:
        print_sources(sources(context, context.obj))
        return
    if dry_run:
        from disttrain.launch.dry_run import dry_run as try_out  # late: brings torch

        try_out(config, script, tuple(arguments or ()))
        return
    run(config, script, tuple(arguments or ()), show_timings=timings, command=shlex.join(["disttrain", *sys.argv[1:]]))


@app.command()
def status(
    run_dir: Annotated[str, typer.Argument(help="A run directory, any fsspec URL.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; with --watch a line for each change.")] = False,
    follow: Annotated[bool, typer.Option("--watch", "-w", help="Follow the run to its end: a page on a terminal, else lines.")] = False,
) -> None:
    """What a run does or has done, read from its directory alone.

    Example: disttrain status runs/train --watch
    """
    from disttrain.cli.tables import print_status  # late: each command loads what it needs
    from disttrain.cli.watching import watch
    from disttrain.rundir.directory import RunDirectory

    directory = RunDirectory(run_dir)
    with looking_at(run_dir):
        found = directory.status()
        if found["state"] == "empty":
            raise no_run(run_dir)
        if follow:
            watch(directory, run_dir, as_json=as_json)
            return
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        print_status(run_dir, found)


@app.command()
def view(
    model_or_run: Annotated[str, typer.Argument(help="A .keras file, or a run directory, any fsspec URL: it may be running.")],
    inputs: Annotated[str, typer.Option(help="Folder of images, .npy and .npz files to choose from.")] = ".",
    classes: Annotated[str | None, typer.Option(help="Names of the classes, with commas between.", show_default="those of the run")] = None,
    top: Annotated[int, typer.Option(help="Predictions shown.")] = 5,
    rescale: Annotated[float | None, typer.Option(help="Factor for pixels from 0 to 255.", show_default="as the model was trained")] = None,
    mean: Annotated[str | None, typer.Option(help="Subtracted after that: a number, or one for each channel with commas between.")] = None,
    std: Annotated[str | None, typer.Option(help="Divided by after that, likewise.")] = None,
    centre_drawings: Annotated[
        bool | None, typer.Option(help="Place drawings in the middle, as MNIST does.", show_default="as in the training")
    ] = None,
    port: Annotated[int, typer.Option(help="On this machine; 0 takes a free one.")] = 5000,
    host: Annotated[str, typer.Option(help="Another than this machine's own lets others look.")] = "127.0.0.1",
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """See in a browser what each layer makes of an input; of a run, checkpoint by checkpoint.

    Example: disttrain view runs/train --port 0
    """
    from disttrain.viewers import server  # late: each command loads what it needs

    names = [name.strip() for name in classes.split(",")] if classes else None
    server.launch(
        model_or_run, names, top, inputs, port, host=host, rescale=rescale, mean=_numbers("--mean", mean), std=_numbers("--std", std),
        centre_drawings=centre_drawings, block=True, open_browser=open_browser,
    )  # fmt: skip


def _numbers(option: str, text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            f"{option} {text}: expected a number, or one for each channel with commas between, such as 0.485,0.456,0.406"
        ) from None


@app.command()
def tensorboard(
    run_dir: Annotated[str, typer.Argument(help="A run directory, or a log directory, any fsspec URL.")],
    port: Annotated[int, typer.Option(help="On this machine.")] = 6006,
    host: Annotated[str, typer.Option(help="Another than this machine's own lets others look.")] = "127.0.0.1",
) -> None:
    """Open TensorBoard on what the TensorBoard callback of a run wrote.

    Example: disttrain tensorboard runs/train --port 6007
    """
    from disttrain.viewers.tensorboard import launch as open_board  # late: each command loads what it needs

    open_board(run_dir, port=port, host=host, block=True)


app.command()(export)
app.command()(runs)
app.command()(logs)
app.command()(stop)
app.command()(doctor)
app.command()(simulate)
app.add_typer(checkpoints)


@app.command()
def digest(
    path: Annotated[str, typer.Argument(help="A run directory, one of its checkpoints, or a saved model.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """One sha256 over the weights: equal digests, equal weights, bit for bit.

    Example: disttrain digest runs/train
    """
    from disttrain.rundir.digests import digest_of  # late: each command loads what it needs

    with looking_at(path):
        found = digest_of(path)
    print(json.dumps({"path": path, "digest": found}) if as_json else found)


@app.command(context_settings={"allow_interspersed_args": True})
def audit(
    run_dir: Annotated[str, typer.Argument(help="A finished run, any fsspec URL.")],
    script: Annotated[str, typer.Argument(help="Its script, from which model and data come.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="Arguments for the script, after --.")] = None,
    sample: Annotated[str, typer.Option(metavar="SHARE", help="So many of the steps between its checkpoints.")] = "1%",
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON at the end, after what the script prints.")] = False,
) -> None:
    """Compute steps of a finished run once more: do they lead from one checkpoint to the next, bit for bit?

    Example: disttrain audit runs/train train.py --sample 100%
    """
    from disttrain.launch.audit import audit as run  # late: each command loads what it needs
    from disttrain.quantities import share_of

    tell = (lambda words: print(words, file=sys.stderr)) if as_json else print
    found = run(run_dir, script, tuple(arguments or ()), share_of("--sample", sample), tell)
    if as_json:
        print(json.dumps([asdict(stretch) for stretch in found]))
    elif not found:
        print("nothing to compare: no fit of the run has kept two checkpoints with digests")
    if any(stretch.differs is not None for stretch in found):
        raise typer.Exit(1)


def run(arguments: list[str], quiet: Callable[[], None] = lambda: None) -> NoReturn:
    """Run the command; the exit code is the process's.

    Args:
        quiet: called once nothing is awaited any more.
    """
    with stopped_by_signals(), lasting_streams():
        try:
            code = app(
                arguments, prog_name="disttrain", standalone_mode=False
            )  # what typer makes of Exit, and of Ctrl-C, comes back as a number
        except BaseException as error:
            quiet()
            code = report_failure(with_advice(error, arguments))
    quiet()
    leave(code if isinstance(code, int) else 0)
