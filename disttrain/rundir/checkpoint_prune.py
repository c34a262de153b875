"""Deleting checkpoints of a run that nobody drives now, by the rules of a running one."""

from __future__ import annotations

from dataclasses import dataclass

from disttrain.checkpoint import (
    Attempt,
    Store,
    bad_checkpoints,
    list_checkpoints,
    newest_number,
    newest_whole,
    plan_deletions,
    read_history,
    references,
    sweep,
)
from disttrain.checkpoint.layout import DATA
from disttrain.checkpoint.retention import Deletions
from disttrain.errors import UsageError
from disttrain.rundir.checkpoint_list import place_of
from disttrain.rundir.directory import RunDirectory
from disttrain.rundir.finished_calls import read_finished


@dataclass(frozen=True)
class Pruned:
    """What was deleted, or would be: checkpoints, and folders of saves that were cut short; and the bytes of all of that."""

    run: str
    kept: tuple[str, ...]
    deleted: tuple[str, ...]
    folders: int
    bytes: int


def prune(run_dir: str, keep: int, *, dry_run: bool = False) -> Pruned:
    """Keep the newest `keep` checkpoints that a resume may choose, and those that hold results of finished calls.

    Kept is also the newest of which every byte is whole, which is read for that, and what is newer than it. What a fresh start or a
    takeover has cut off goes.

    Raises:
        UsageError: no run is there, a checkpoint is named, or `keep` is below 1.
        RunInUse: a driver is at work in it; it deletes by itself.
        CheckpointError: records are damaged, or no checkpoint is whole: then nothing is deleted.
    """
    if keep < 1:
        raise UsageError(f"--keep {keep}: expected 1 or more.")
    place = place_of(run_dir)
    if place.name is not None:
        raise UsageError(f"{run_dir} is one checkpoint: expected a run directory, and --keep says how many stay.")
    directory = RunDirectory(place.run)
    store, attempts = directory.store, directory.attempts()
    directory.refuse_if_live(attempts)
    names = [info.name for info in list_checkpoints(store)]
    history = read_history(store, names)
    whole = newest_whole(store, history)
    bad = bad_checkpoints(store) | (set() if whole is None else set(whole.skipped))
    number = newest_number(store)
    plan = plan_deletions(
        history, names, store.list(DATA), attempt=number, keep=keep,
        pinned={str(record["commit"]) for record in read_finished(store, attempts).values() if record.get("commit")},
        verified=() if whole is None else (str(whole.manifest.name),), bad=bad,
        refers=references(store, names),
    )  # fmt: skip
    kept = tuple(name for name in names if name not in plan.commits)
    done = Pruned(place.run, kept, plan.commits, len(plan.folders), _size(store, plan))
    if not dry_run:
        sweep(store, Attempt(number), plan)
    return done


def _size(store: Store, plan: Deletions) -> int:
    paths = [f"{DATA}/{folder}/{name}" for folder in plan.folders for name in store.list(f"{DATA}/{folder}")]
    return sum(store.size(path) for path in paths)
