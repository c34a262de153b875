"""`disttrain simulate`: what goodput to expect of a cluster that fails, which checkpoint interval and how many spares to choose."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from disttrain.controller.checkpoint_interval import CheckpointInterval
from disttrain.errors import UsageError
from disttrain.quantities import seconds, size_bytes, spoken
from disttrain.simulation import Advice, ClusterModel, advise
from disttrain.simulation.advice import neighbours

_ROWS = {
    "counted": "steps that counted",
    "slower": "slower steps, while workers are missing",
    "redone": "redone steps",
    "recovering": "recovery",
    "waiting": "waiting for workers",
    "saves": "saves",
    "callbacks": "callbacks",
    "given_up": "after the run gave up",
}


def simulate(
    workers: Annotated[int, typer.Option(help="Worker processes.")],
    step: Annotated[str, typer.Option(help="An optimizer step with all workers there, such as 2s.")],
    mtbf: Annotated[
        str | None,
        typer.Option(help="Mean time between failures of single workers, over the whole cluster of --workers; without it they never fail."),
    ] = None,
    mtbf_per_worker: Annotated[str | None, typer.Option(help="The same for each worker on its own: --mtbf times --workers.")] = None,
    outage: Annotated[str, typer.Option(help="Mean time between losses of all workers at once; or never.")] = "30d",
    checkpoint: Annotated[str, typer.Option(help="A save every so often: 60s, 10min, or 100steps.")] = "10min",
    virtual_workers: Annotated[int | None, typer.Option(help="Slices of each batch; as many as workers if not given.")] = None,
    min_workers: Annotated[int, typer.Option(help="With fewer, training waits for more.")] = 1,
    spares: Annotated[int, typer.Option(help="Warm workers kept beside.")] = 0,
    start: Annotated[str, typer.Option(help="Until a replacement has a machine, imports and a model.")] = "15s",
    state: Annotated[str, typer.Option(help="Weights and optimizer together, such as 10GB.")] = "1GB",
    bandwidth: Annotated[str, typer.Option(help="At which a newcomer receives the state, or storage takes and gives it.")] = "1GB/s",
    detect: Annotated[str, typer.Option(help="From a death until the driver knows of it.")] = "1s",
    reform: Annotated[str, typer.Option(help="From there to the next step, the state's transfer apart.")] = "500ms",
    save_stall: Annotated[str, typer.Option(help="The workers stand so long at each save.")] = "200ms",
    callbacks: Annotated[str, typer.Option(help="The workers wait so long for the callbacks of an epoch.")] = "0",
    epoch_steps: Annotated[int, typer.Option(help="Steps of an epoch.")] = 1000,
    seeds: Annotated[int, typer.Option(help="Runs, each with failures of its own.")] = 8,
    time: Annotated[str | None, typer.Option(help="Simulated time of each run; if not given, long enough for firm figures.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what goodput to expect of a cluster that fails, and what checkpoint interval and how many spares to choose.

    The recovery is that of a launch, on simulated time. Failures come at random, independently of each other.

    Example: disttrain simulate --workers 64 --mtbf 3h --step 2s
    """
    if mtbf is not None and mtbf_per_worker is not None:
        raise UsageError("--mtbf and --mtbf-per-worker say the same thing in two ways: expected one of them.")
    if seeds < 1:
        raise UsageError(f"--seeds {seeds}: expected an integer of 1 or more.")
    step_s = seconds(step, "--step")
    interval = CheckpointInterval.parse(checkpoint, "--checkpoint")
    if interval.epoch:
        interval = CheckpointInterval(steps=epoch_steps)
    between_s = None if mtbf is None else seconds(mtbf, "--mtbf")
    if mtbf_per_worker is not None:
        between_s = seconds(mtbf_per_worker, "--mtbf-per-worker") / max(1, workers)
    model = ClusterModel(
        workers=workers, virtual_workers=virtual_workers, min_workers=min_workers, spares=spares, step_s=step_s,
        checkpoint_s=interval.seconds or (interval.steps or 1) * step_s, mtbf_s=between_s,
        outage_s=None if outage == "never" else seconds(outage, "--outage"), detect_s=seconds(detect, "--detect", zero=True),
        reform_s=seconds(reform, "--reform", zero=True), start_s=seconds(start, "--start", zero=True),
        state_bytes=size_bytes(state, "--state"), bandwidth=size_bytes(bandwidth, "--bandwidth"),
        save_stall_s=seconds(save_stall, "--save-stall", zero=True), callback_s=seconds(callbacks, "--callbacks", zero=True),
        epoch_steps=epoch_steps,
    )  # fmt: skip
    advice = advise(model, seeds, None if time is None else seconds(time, "--time"))
    if as_json:
        print(json.dumps(_as_json(model, advice), indent=1))
    else:
        _print(model, advice)


def _as_json(model: ClusterModel, advice: Advice) -> dict[str, Any]:
    account = advice.account
    return {
        "model": asdict(model),
        "seeds": advice.seeds,
        "simulated_seconds": advice.seconds,
        "goodput": advice.goodput,
        "goodput_error": advice.error,
        "shares": account.shares,
        "failures": account.failures,
        "outages": account.outages,
        "reforms": account.reforms,
        "rollbacks": account.rollbacks,
        "gave_up": account.message or None,
        "checkpoint_seconds": {
            "best": advice.interval_s,
            "young_daly": advice.formula_s,
            "compared": [asdict(choice) for choice in advice.intervals],
        },
        "spares": {"best": advice.best_spares, "compared": [asdict(choice) for choice in advice.spares]},
    }


def _print(model: ClusterModel, advice: Advice) -> None:
    from rich.table import Table  # late: each command loads what it needs
    from rich.text import Text

    from disttrain.cli.tables import plain_console  # late: as those

    console, account = plain_console(), advice.account
    failing = "single workers never fail" if model.mtbf_s is None else f"one of them fails every {spoken(model.mtbf_s)}"
    outages = "never all at once" if model.outage_s is None else f"all at once every {spoken(model.outage_s)}"
    console.print(
        f"{model.workers} workers and {model.spares} spares; {failing}, {outages}. Steps of {spoken(model.step_s)}, "
        f"a save every {spoken(model.checkpoint_s)}.\n{advice.seeds} runs of {spoken(advice.seconds)}: {account.failures} failures, "
        f"{account.outages} losses of all, {account.reforms} times re-formed.\n"
    )
    table = Table("where the time goes", "share")
    for name, words in _ROWS.items():
        share = account.shares[name]
        if share or name in ("counted", "recovering", "waiting", "saves", "redone"):
            table.add_row(words, f"{100 * share:.3f} %")
    console.print(table)
    console.print(Text(f"goodput {100 * advice.goodput:.2f} %", "bold"), f"(standard error {100 * advice.error:.2f})\n")
    if account.message:
        console.print(f"a run gave up: {account.message}\n", style="red")
    _print_choices(
        console, "checkpoint interval", "goodput", [(spoken(choice.value), choice.value == advice.interval_s, choice.goodput)
        for choice in neighbours(advice.intervals, [advice.interval_s, model.checkpoint_s])],
    )  # fmt: skip
    if advice.interval_s is None or advice.formula_s is None:
        console.print("Nothing is ever redone here: save as seldom as you can bear to lose when all workers are lost after all.\n")
    else:
        console.print(Text(f"save every {spoken(advice.interval_s)}", "bold"), f"(Young and Daly's formula: {spoken(advice.formula_s)})\n")
    _print_choices(
        console, "spares", "goodput", [(f"{choice.value:.0f}", choice.value == advice.best_spares, choice.goodput)
        for choice in advice.spares],
    )  # fmt: skip
    console.print(Text.assemble((f"{advice.best_spares} spares", "bold"), ": the fewest within 0.1 % of the best"))
    alone_s = model.step_with(model.min_workers)
    if model.outage_s is not None and alone_s > 10 * max(model.step_s, model.start_s):
        console.print(
            f"\nAfter a loss of all workers, the first --min-workers {model.min_workers} to be back begin without the others, and their "
            f"first step takes {spoken(alone_s)}. Try a larger --min-workers."
        )


def _print_choices(console: Any, name: str, value: str, rows: list[tuple[str, bool, float]]) -> None:
    from rich.table import Table  # late: each command loads what it needs

    if not rows:
        return
    table = Table(name, value, "")
    for words, best, goodput in rows:
        table.add_row(words, f"{100 * goodput:.3f} %", "best" if best else "")
    console.print(table)
