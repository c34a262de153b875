"""A run with one of its checkpoints, or with all, brought to another place: a run directory to go on with, or to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from disttrain.checkpoint import Attempt, Manifest, Store, list_checkpoints, read_attempts, read_history, seal, verify
from disttrain.checkpoint.layout import ATTEMPTS, attempt_path, commit_path, end_path, resume_path
from disttrain.checkpoint.reader import read_manifest
from disttrain.errors import CheckpointError, UsageError
from disttrain.rundir.checkpoint_list import chosen, place_of, size_of
from disttrain.rundir.finished_calls import files_of, read_finished

COPIED = "copied"
_MODEL = "model"
_AT_ONCE = 64 << 20


@dataclass(frozen=True)
class Copied:
    """What lies at `run` now, newest first; `skipped`: damaged ones, and why."""

    run: str
    checkpoints: tuple[str, ...]
    bytes: int
    skipped: tuple[str, ...] = ()


def copy(address: str, target: str, step: int | None = None, *, all_of_them: bool = False) -> Copied:
    """Bring a checkpoint to another run directory, with what a launch needs to go on from it, and what finished calls need.

    Every byte is checked against its digest, at its old place and at its new one. A copy that was cut short is refused by a launch, until
    the same copy has been made to its end.

    Args:
        address: RUN, for its newest that is whole, or RUN/NAME.
        target: any fsspec URL; nothing else may lie there.
        all_of_them: each that a resume may choose.

    Raises:
        UsageError: there is no such checkpoint, or `target` holds another run.
        CheckpointError: what is there is damaged.
    """
    place = place_of(address, step)
    source, into = place.store, Store(target)
    if into.url == source.url or (into.is_local and source.is_local and into.root == source.root):
        raise UsageError(f"{target} is the run itself: expected another place.")
    manifest = chosen(place)
    newest, history = str(manifest.name), read_history(source)
    if newest not in history:
        raise UsageError(
            f"{newest} of {place.run} is none that a resume may choose: a fresh start or another driver has cut it off.\n"
            "  expected  one that disttrain status shows"
        )
    older = history[history.index(newest) :]
    attempts = read_attempts(source, newest_run=True)
    call = manifest.extra.get("call")
    finished = {number: record for number, record in read_finished(source, attempts).items() if _holds(record, number, call, older)}
    needed = {newest, *(str(record["commit"]) for record in finished.values() if record.get("commit"))}
    manifests, skipped = [], []
    for name in older:
        if name in needed or all_of_them:
            try:
                manifests.append(verify(source, name))
            except CheckpointError as error:
                if name in needed:
                    raise
                skipped.append(f"{name}: {error}")
    _refuse_another(into, target, manifests)
    for one in manifests:
        _copy_data(source, into, one)
    others = [*(f"{_MODEL}/{name}" for name in source.list(_MODEL)), *(path for number in finished for path in files_of(source, number))]
    for path in [*others, *(["run.json"] if source.exists("run.json") else []), *(commit_path(str(one.name)) for one in manifests)]:
        _create(into, path, source.read(path), target)
    for path, data in _records(source, attempts, ended=newest == history[0]):
        _create(into, path, data, target)
    for one in manifests:
        verify(into, str(one.name))
    return Copied(target, tuple(str(one.name) for one in manifests), sum(map(size_of, manifests)), tuple(skipped))


def _holds(record: dict[str, Any], number: int, call: Any, older: list[str]) -> bool:
    """Was this call finished by then?"""
    rests_on = record.get("commit") or record.get("after")
    return str(rests_on) in older if rests_on else type(call) is int and number < call


def _records(source: Store, attempts: list[Attempt], *, ended: bool) -> list[tuple[str, bytes]]:
    """The attempts' records. Their own come last: without any, what lies there is refused, so nobody begins anew on half a copy.

    Args:
        ended: is what is copied all that the newest attempt came to? Else its end is that it was copied.
    """
    there, found = set(source.list(ATTEMPTS)), []
    for attempt in attempts:
        end, last = end_path(attempt.number), attempt is attempts[-1]
        if last and not (ended and attempt.outcome is not None):
            found.append((end, seal({"attempt": attempt.number, "nonce": attempt.nonce, "outcome": COPIED})))
        elif end.removeprefix(f"{ATTEMPTS}/") in there:
            found.append((end, source.read(end)))
        if attempt.resumed:
            found.append((resume_path(attempt.number), source.read(resume_path(attempt.number))))
    return [*found, *((attempt_path(one.number), source.read(attempt_path(one.number))) for one in attempts)]


def _refuse_another(into: Store, target: str, manifests: list[Manifest]) -> None:
    """What lies at the target must be a part of the same copy."""
    wanted, there = {str(one.name): one.nonce for one in manifests}, [info.name for info in list_checkpoints(into)]
    for name in there:
        if name not in wanted or read_manifest(into, name).nonce != wanted[name]:
            raise _another(target, name)
    if into.list(ATTEMPTS) and not there:
        raise _another(target, ATTEMPTS)


def _copy_data(source: Store, into: Store, manifest: Manifest) -> None:
    for path, nbytes in {file.path: file.nbytes for own in manifest.files for file in own.all_files()}.items():
        if into.exists(path):
            if into.size(path) == nbytes:
                continue  # of an earlier try, or of another checkpoint; `verify` will say whether it is whole
            into.delete(path)
        into.write_file(path, _Parts(source, path, nbytes))


class _Parts(Sequence[bytes]):
    """A file in parts, each read when it is asked for: a disk takes one after the other."""

    def __init__(self, store: Store, path: str, nbytes: int) -> None:
        self._store, self._path, self._nbytes = store, path, nbytes

    def __len__(self) -> int:
        return -(-self._nbytes // _AT_ONCE)

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self._store.read(self._path, number * _AT_ONCE, min((number + 1) * _AT_ONCE, self._nbytes))


def _create(into: Store, path: str, data: bytes, target: str) -> None:
    if not into.create(path, data):
        raise _another(target, path)


def _another(target: str, found: str) -> UsageError:
    return UsageError(
        f"{target} holds another run already: {found}\n  expected  an empty place, or what an earlier try of the same copy left there"
    )
