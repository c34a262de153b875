"""A fit that goes on from a full checkpoint, in this process: which one, and whether it is of this fit."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable

from disttrain.callbacks import CallbackList
from disttrain.callbacks.progress_bar import note
from disttrain.checkpoint import Loaded, Store, list_checkpoints, load, load_newest, read_history
from disttrain.checkpoint.address import split_address
from disttrain.checkpoint.trouble import answering
from disttrain.errors import CheckpointMismatch, RunMismatch, UsageError
from disttrain.models.call_differences import Identity, differences, only_renumbered, refuse_other_call
from disttrain.training.job import Job
from disttrain.training.local import runner
from disttrain.training.local.keeping import GoingOn, Keeping
from disttrain.training.step.named_arrays import as_tensor
from disttrain.training.step.replica import StateDict

_CALLBACKS = "callbacks/"


def carry_fit(
    carrier: runner.Runner, job: Job, callbacks: CallbackList, resume_from: str | os.PathLike[str] | None,
    identity: Callable[[Job], Identity],
) -> None:  # fmt: skip
    """Let `carrier` fit; from a full checkpoint on, if one is given.

    Raises:
        UsageError: there is none at `resume_from`, or a launch carries the fit, which has checkpoints of its own.
        RunMismatch, CheckpointMismatch: it is of another fit, or of another model.
        CheckpointError: it is damaged.
    """
    if not isinstance(carrier, runner.LocalRunner):
        if resume_from is not None:
            raise UsageError(
                f"fit(resume_from={os.fspath(resume_from)!r}): under a launch the run directory says where a fit goes on.\n"
                f"  try       disttrain checkpoints copy {os.fspath(resume_from)} RUN, then disttrain launch --run-dir RUN, of a launch's\n"
                "            checkpoints; model.load_weights(...) for the weights of any"
            )
        carrier.fit(job, callbacks)
        return
    if resume_from is None and not callbacks.keeps_training:
        carrier.fit(job, callbacks)
        return
    own = identity(job)
    going_on = None if resume_from is None else _going_on(os.fspath(resume_from), job, own)
    try:
        carrier.fit(job, callbacks, Keeping(own, going_on))
    except (KeyError, ValueError) as error:
        if going_on is None or "a state to load" not in str(error):
            raise
        raise CheckpointMismatch(
            f"{resume_from} holds the state of another model: {error.args[0]}\n  try       the model as it was, or load_weights(...)"
        ) from error


def _going_on(address: str, job: Job, own: Identity) -> GoingOn:
    with answering(address):
        run, name = split_address(address)
        store = Store(run)
        loaded = _loaded(store, address, name)
    manifest, extra = loaded.manifest, loaded.manifest.extra
    whole = f"{run}/{manifest.name}"
    if extra.get("kind") != "fit" or not all(field in extra for field in ("call", "tick", "meta", "hooks")):
        raise UsageError(f"{whole} is no checkpoint of a fit.\n  expected  one that a launch, or ModelCheckpoint with a folder, has kept")
    if extra["call"] != job.call:
        raise RunMismatch(
            f"{whole} is of call {extra['call']} of its script, this fit is call {job.call}: the order of samples depends on that.\n"
            "  try       the same calls of fit, evaluate and predict before it as then"
        )
    then = extra.get("identity") or own
    refused, told = differences(then, own)
    refuse_other_call(
        refused, call=job.call, kind="fit", run_dir=run, held=f"checkpoint {manifest.name}", renumbered=only_renumbered(then, own),
        remedy="the script as it was (dt.set_virtual_workers(V) gives one process the slices of a launch), or load_weights(...)",
    )  # fmt: skip
    if extra["tick"] > job.program.ticks:
        raise RunMismatch(f"{whole} is further than this fit goes with epochs={job.program.epochs}.\n  try       as many epochs or more")
    for words in told:
        note(f"[disttrain] {words}; the fit goes on")
    tensors = {key: as_tensor(array) for key, array in loaded.arrays.items() if not key.startswith(_CALLBACKS)}
    arrays = {key.removeprefix(_CALLBACKS): a.to_numpy() for key, a in loaded.arrays.items() if key.startswith(_CALLBACKS)}
    return GoingOn(str(manifest.name), store, StateDict(tensors, extra["meta"]), extra, arrays)


def _loaded(store: Store, address: str, name: str | None) -> Loaded:
    if name is not None:
        return load(store, name)
    newest = load_newest(store, read_history(store)) if list_checkpoints(store) else None
    if newest is None:
        raise UsageError(
            f"fit(resume_from={address!r}): there is no checkpoint.\n"
            "  expected  a folder that ModelCheckpoint has filled, the run directory of a launch, or one of their checkpoints"
        )
    for reason in newest.skipped:
        warnings.warn(f"{address}: passed over, {reason.splitlines()[0]}", stacklevel=5)
    return Loaded(newest.arrays, newest.manifest)
