"""The checkpoints of runs, each in a few figures, and one of them in all: read from their manifests, never changed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from disttrain.checkpoint import (
    Manifest,
    Store,
    bad_checkpoints,
    list_checkpoints,
    newest_whole,
    read_attempts,
    read_history,
    verify,
)
from disttrain.checkpoint.address import split_address
from disttrain.checkpoint.history import newest_of_step
from disttrain.checkpoint.reader import read_manifest
from disttrain.clock import Clock, SystemClock
from disttrain.errors import CheckpointError, UsageError
from disttrain.rundir.finished_calls import read_finished
from disttrain.rundir.summaries import run_names


@dataclass(frozen=True)
class Listed:
    """One checkpoint.

    Attributes:
        epoch: how many are done.
        age_s: since it was committed; None where it does not say.
        size_bytes: of its own files. holds_bytes: of its tensors; `unchanged_bytes` of those are as in the checkpoint before it, and
            `shared_bytes` lie in files of earlier ones.
        metrics: the newest that callbacks had seen.
        result_of: the finished calls of the script whose result it is.
        counts: may a resume choose it?
        problem: what is known to be wrong with it.
    """

    run: str
    name: str
    step: int
    call: int | None = None
    epoch: int | None = None
    age_s: float | None = None
    size_bytes: int | None = None
    holds_bytes: int | None = None
    unchanged_bytes: int | None = None
    shared_bytes: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    result_of: tuple[int, ...] = ()
    counts: bool = True
    problem: str | None = None


@dataclass(frozen=True)
class Verified:
    """What reading every byte of a checkpoint found; `problem` is None where each is as it was written."""

    run: str
    name: str
    size_bytes: int | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Place:
    """A run directory, and the checkpoint that was named in it, if one was."""

    run: str
    store: Store
    name: str | None = None


def place_of(address: str, step: int | None = None) -> Place:
    """What RUN, RUN/NAME or RUN with a step leads to.

    Raises:
        UsageError: no run is there, or no checkpoint of that step.
    """
    run, name = split_address(address)
    store = Store(run)
    if not store.list("attempts") and not list_checkpoints(store):
        raise UsageError(f"{run} holds no run.\n  expected  a directory that disttrain launch --run-dir has written, or RUN/CHECKPOINT")
    if step is not None:
        if name is not None:
            raise UsageError(f"{address} is one checkpoint, and --step {step} asks for another.\n  expected  one of the two")
        name = newest_of_step(read_history(store), step, run)
    return Place(run, store, name)


def chosen(place: Place) -> Manifest:
    """The manifest of the checkpoint that was named; else of the newest that is whole, every byte of it read.

    Raises:
        UsageError: there is none.
        CheckpointError: the named one is damaged, or all are.
    """
    if place.name is not None:
        return read_manifest(place.store, place.name)
    found = newest_whole(place.store, read_history(place.store))
    if found is None:
        raise UsageError(f"{place.run} has no checkpoint yet.\n  try       disttrain status {place.run}")
    return found.manifest


def listed(folder: str, clock: Clock | None = None) -> list[Listed]:
    """The checkpoints of a run, newest first; those of all runs right below it, where it is a folder of runs.

    Raises:
        UsageError: neither is there.
    """
    clock = clock or SystemClock()
    store = Store(folder)
    if store.list("attempts") or list_checkpoints(store):
        return _of_run(folder, store, clock)
    runs = run_names(folder)
    if not runs:
        raise UsageError(f"{folder} holds no run.\n  expected  a run directory, or a folder of run directories such as runs/")
    trimmed = folder.rstrip("/")
    return [found for name in runs for found in _of_run(f"{trimmed}/{name}", Store(f"{trimmed}/{name}"), clock)]


def verified(address: str, step: int | None = None) -> list[Verified]:
    """Read every byte of the checkpoint that is named; of all in a run, newest first, where none is. Nothing is marked.

    Raises:
        UsageError: there is no checkpoint.
        OSError: the store failed; it says nothing about the checkpoint.
    """
    place = place_of(address, step)
    names = [place.name] if place.name is not None else [info.name for info in list_checkpoints(place.store)]
    if not names:
        raise UsageError(f"{place.run} has no checkpoint yet.\n  try       disttrain status {place.run}")
    found = []
    for name in names:
        try:
            manifest = verify(place.store, name)
        except CheckpointError as error:
            found.append(Verified(place.run, name, None, str(error)))
        else:
            found.append(Verified(place.run, name, size_of(manifest)))
    return found


def described(address: str, step: int | None = None, clock: Clock | None = None) -> dict[str, Any]:
    """All that a checkpoint says of itself, in JSON types.

    Raises:
        UsageError, CheckpointError: as `place_of` and `chosen`.
    """
    place = place_of(address, step)
    manifest = chosen(place)
    extra = manifest.extra
    hooks = extra.get("hooks")
    return {
        "run": place.run,
        "name": str(manifest.name),
        "step": manifest.name.step,
        "attempt": manifest.name.attempt,
        **_told(extra, (clock or SystemClock()).wall_s()),
        **{name: extra[name] for name in ("kind", "tick", "virtual_workers", "seed", "audited") if name in extra},
        "callbacks": sorted(hooks.get("callbacks", {})) if isinstance(hooks, dict) else [],
        "size_bytes": size_of(manifest),
        "files": [{"path": file.path, "bytes": file.nbytes, "pieces": len(file.pieces)} for file in manifest.files],
        "refers_to": sorted({earlier.path for file in manifest.files for earlier in file.earlier}),
        "tensors": [{"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape), "bytes": spec.nbytes} for spec in manifest.tensors],
    }


def size_of(manifest: Manifest) -> int:
    """Bytes of its own files."""
    return sum(file.nbytes for file in manifest.files)


def pieces_of(manifest: Manifest) -> dict[tuple[str, int, int], tuple[str, int]]:
    """(digest, bytes) of each piece, by tensor and rows."""
    return {
        (one.piece.tensor, one.piece.row_start, one.piece.row_stop): (one.digest, one.nbytes)
        for file in manifest.files
        for one in file.all_pieces()
    }


def metrics_of(extra: dict[str, Any]) -> dict[str, float]:
    """The newest that callbacks had seen."""
    hooks = extra.get("hooks")
    logs = hooks.get("logs") if isinstance(hooks, dict) else None
    if not isinstance(logs, dict):
        return {}
    return {str(name): float(value) for name, value in logs.items() if isinstance(value, int | float) and not isinstance(value, bool)}


def _of_run(run: str, store: Store, clock: Clock) -> list[Listed]:
    infos, bad = list_checkpoints(store), bad_checkpoints(store)
    try:
        valid = set(read_history(store))
        results = _results(store)
    except CheckpointError:  # of damage to the records: which count is not known, the checkpoints are there
        valid, results = {info.name for info in infos}, {}
    found: list[Listed] = []
    older: dict[tuple[str, int, int], tuple[str, int]] = {}
    for info in reversed(infos):
        one = Listed(run, info.name, info.step, result_of=results.get(info.name, ()), counts=info.name in valid)
        try:
            manifest = read_manifest(store, info.name)
        except CheckpointError as error:
            found.append(replace(one, problem=str(error).splitlines()[0]))
            continue
        own = pieces_of(manifest)
        unchanged = sum(nbytes for where, (digest, nbytes) in own.items() if older.get(where) == (digest, nbytes))
        one = replace(
            one,
            **_told(manifest.extra, clock.wall_s()),
            size_bytes=size_of(manifest),
            holds_bytes=sum(nbytes for _, nbytes in own.values()),
            unchanged_bytes=unchanged,
            shared_bytes=sum(piece.nbytes for file in manifest.files for earlier in file.earlier for piece in earlier.pieces),
            problem="a reader found it damaged" if info.name in bad else None,
        )
        found.append(one)
        older = own
    return found[::-1]


def _told(extra: dict[str, Any], now: float) -> dict[str, Any]:
    hooks, call, saved = extra.get("hooks"), extra.get("call"), extra.get("saved")
    epoch = hooks.get("epoch") if isinstance(hooks, dict) else None
    return {
        "call": call if type(call) is int else None,
        "epoch": epoch if type(epoch) is int else None,
        "age_s": max(0.0, now - saved) if isinstance(saved, int | float) else None,
        "metrics": metrics_of(extra),
    }


def _results(store: Store) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for call, record in sorted(read_finished(store, read_attempts(store, newest_run=True)).items()):
        if record.get("commit"):
            name = str(record["commit"])
            found[name] = (*found.get(name, ()), call)
    return found
