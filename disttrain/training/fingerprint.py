"""What a state in the middle of a call depends on: ticks and samples are counted by it, so a resumed call must have the same."""

from __future__ import annotations

from typing import Any

from disttrain.data import StreamPlan
from disttrain.errors import RunMismatch
from disttrain.training.job import Job

_WORDS = {
    "batch_size": "batch_size",
    "drop_last": "whether a short last batch is left out",
    "samples": "the number of samples",
    "shuffle": "shuffle",
    "steps": "the number of steps",
}


def fingerprint(job: Job) -> dict[str, Any]:
    """In JSON types: the batches of each phase, the number of slices, and after which batches callbacks are called."""
    program = job.program
    phases = {
        kind.value: {
            "samples": None if isinstance(plan, StreamPlan) else plan.samples,
            "batch_size": int(plan.batch_size),
            "steps": plan.steps,
            "shuffle": bool(plan.shuffle),
            "drop_last": plan.drop_last,
        }
        for kind, plan in program.plans
    }
    return {
        "phases": phases,
        "virtual_workers": job.virtual_workers,
        "every_batch": sorted(kind.value for kind in program.every_batch),
        "batches_per_hook": program.batches_per_hook,
        "before_validation": program.before_validation,
        "initial_epoch": program.initial_epoch,
        "ticks": program.ticks,
    }


def check_fingerprint(job: Job, meta: dict[str, Any]) -> None:
    """Refuse a state whose ticks mean something else in `job`; one that stands at the end of its call means the same anywhere.

    Raises:
        RunMismatch: names what differs.
    """
    then = meta.get("call")
    if then is None or meta["ended"] or meta["tick"] >= then["ticks"]:
        return
    now = fingerprint(job)
    differing: list[str] = []
    for phase in sorted({*then["phases"], *now["phases"]}):
        old, new = then["phases"].get(phase), now["phases"].get(phase)
        if old is None or new is None:
            differing.append(f"{phase} steps: {'none' if old is None else 'some'} then, {'none' if new is None else 'some'} now")
            continue
        differing += [f"{_WORDS[name]} of the {phase} steps: {old[name]} then, {new[name]} now" for name in old if old[name] != new[name]]
    if then["virtual_workers"] != now["virtual_workers"]:
        differing.append(f"virtual workers: {then['virtual_workers']} then, {now['virtual_workers']} now")
    if then["every_batch"] != now["every_batch"] or then["batches_per_hook"] != now["batches_per_hook"]:
        differing.append(
            "callbacks with batch hooks: "
            f"called in {then['every_batch'] or 'no phase'} every {then['batches_per_hook']} batches then, "
            f"in {now['every_batch'] or 'no phase'} every {now['batches_per_hook']} now"
        )
    if then["before_validation"] != now["before_validation"]:
        differing.append(f"a callback with on_test_begin: {then['before_validation']} then, {now['before_validation']} now")
    if then["initial_epoch"] != now["initial_epoch"]:
        differing.append(f"initial_epoch: {then['initial_epoch']} then, {now['initial_epoch']} now")
    if differing:
        raise RunMismatch(
            "the checkpoint stands in the middle of a call that differs from this one:\n  "
            + "\n  ".join(differing)
            + "\n  try       the script as it was, or another --run-dir, or --restart to begin anew beside it"
        )
