"""The record of who drove a run, and from which checkpoint: the fence that a driver thought dead cannot step over."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

from disttrain.checkpoint.history import Attempt
from disttrain.checkpoint.layout import ATTEMPTS, COMMITS, CommitName, attempt_path, end_path, parse_attempt, parse_commit_file, resume_path
from disttrain.checkpoint.messages import explain
from disttrain.checkpoint.sealed import Json, seal, unseal
from disttrain.checkpoint.store import Store
from disttrain.errors import CheckpointCorrupt, CheckpointError, RunInUse

_TRIES = 100
_MAX_RECORD_BYTES = 1 << 20
_REMEDY = "restore this file from a copy, or --restart to begin anew; the checkpoints are untouched"


class Superseded(CheckpointError):
    """A newer attempt has taken over the run: this driver must stop, and commits nothing more."""


def attempt_numbers(store: Store) -> list[int]:
    """Numbers of the attempts begun so far, ascending. One listing; no record is opened."""
    numbers = (parse_attempt(name) for name in store.list(ATTEMPTS))
    return sorted(number for number in numbers if number is not None)


def newest_number(store: Store) -> int:
    """The highest number that an attempt has had, by its own record or by a commit; 0 for none. Should the records be lost, no number
    is given out twice."""
    commits = (name.attempt for name in filter(None, map(parse_commit_file, store.list(COMMITS))))
    return max([*attempt_numbers(store), *commits], default=0)


def start_attempt(store: Store, info: dict[str, Json], fresh: bool, after: int | None = None) -> Attempt:
    """Take the next number, create-only; whoever loses a race for it takes the one after, unless `after` forbids it.

    Args:
        store: the run directory.
        info: JSON that says who: host, pid, time.
        fresh: from nothing, not from the newest checkpoint.
        after: the newest number when the run was looked at: if another has begun since, what was seen is no longer true.

    Raises:
        RunInUse: another began after `after`, or 100 rivals in a row were faster.
        RunUnwritable: the run directory cannot be written.
        ValueError: `info` is no JSON, or longer than 1 MiB.
    """
    nonce = secrets.token_hex(16)
    for _ in range(_TRIES if after is None else 1):
        number = (newest_number(store) if after is None else after) + 1
        data = seal({"attempt": number, "fresh": fresh, "nonce": nonce, "info": info})
        if len(data) > _MAX_RECORD_BYTES:
            raise ValueError(f"info takes {len(data)} bytes: expected at most {_MAX_RECORD_BYTES}.")
        # reading back finds the winner also on servers that let both create the file
        if store.create(attempt_path(number), data) and store.read(attempt_path(number)) == data:
            return Attempt(number, fresh, nonce, dict(info))
    if after is not None:
        raise RunInUse(
            f"{store.url} is in use: another driver has just begun attempt {after + 1} of it.\n"
            "  expected  one driver for a run\n"
            "  try       another --run-dir, or the same command once that one has ended"
        )
    raise RunInUse(f"{store.url} is being started by others: {_TRIES} attempts in a row were taken. Stop the other drivers and try again.")


def read_attempts(store: Store, *, newest_run: bool = False) -> list[Attempt]:
    """All attempts, ascending, with what each resumed from and how it ended.

    Args:
        newest_run: only back to the last one that began from nothing. What was before counts for nothing, and damage to it hinders nobody.

    Raises:
        CheckpointCorrupt: a record is damaged; the message names the file.
    """
    names = store.list(ATTEMPTS)
    present = {f"{ATTEMPTS}/{name}" for name in names}
    found: list[Attempt] = []
    for number in sorted(filter(None, map(parse_attempt, names)), reverse=True):
        found.insert(0, _read_attempt(store, number, present))
        if newest_run and found[0].fresh:
            break
    return found


def record_resume(store: Store, attempt: Attempt, commit_name: str | None) -> Attempt:
    """Record, before the first commit, which checkpoint an attempt resumed from; None for nothing.

    Returns the attempt with that in it. Recording the same again is no error.

    Raises:
        ValueError: `commit_name` is none, is no older attempt's, or the attempt is fresh.
        CheckpointError: the attempt has recorded something else already.
    """
    if commit_name is not None:
        name = CommitName.parse(commit_name)
        if name is None or name.attempt >= attempt.number or attempt.fresh:
            raise ValueError(
                f"record_resume(commit_name={commit_name!r}) of attempt {attempt.number}{' (fresh)' if attempt.fresh else ''}: "
                "expected a checkpoint of an earlier attempt such as 'step-000000012000-a0003-s0007', and None for a fresh attempt."
            )
    _create_once(store, attempt, resume_path(attempt.number), {"resumed_from": commit_name})
    return replace(attempt, resumed=True, resumed_from=commit_name)


def end_attempt(store: Store, attempt: Attempt, outcome: str, **details: Json) -> Attempt:
    """Record how an attempt ended, such as `"finished"` or `"interrupted"`; a killed one records nothing. `details` are for people.

    Raises:
        CheckpointError: it has recorded another end already.
    """
    _create_once(store, attempt, end_path(attempt.number), {"outcome": outcome, **details})
    return replace(attempt, outcome=outcome)


def refuse_if_superseded(store: Store, attempt: Attempt) -> None:
    """Look whether a newer attempt has begun.

    Raises:
        Superseded: one has.
    """
    newest = max(attempt_numbers(store), default=0)
    if newest > attempt.number:
        raise Superseded(
            explain(
                f"attempt {attempt.number} of {store.url} has been superseded: another driver took over the run.",
                expected=f"attempt {attempt.number} to be the newest",
                found=f"attempt {newest} in {store.locate(attempt_path(newest))}",
                remedy="stop this driver; the newer one goes on with the run",
            )
        )


def _create_once(store: Store, attempt: Attempt, path: str, record: dict[str, Json]) -> None:
    # the nonce: another process that believes it is this attempt must not pass for it
    if not store.create(path, seal({"attempt": attempt.number, "nonce": attempt.nonce, **record})):
        raise CheckpointError(
            explain(
                f"{store.locate(path)} cannot be written: it is there already, with other content.",
                expected=f"to record {record} once for attempt {attempt.number}",
                found=store.read(path, stop=300).decode(errors="replace"),
                remedy="start the driver again; it takes the next attempt",
            )
        )


def _read_attempt(store: Store, number: int, present: set[str]) -> Attempt:
    body = _record(store, attempt_path(number), number, {"fresh": bool, "nonce": str, "info": dict})
    attempt = Attempt(number, body["fresh"], body["nonce"], body["info"])
    if resume_path(number) in present:
        resumed_from = _record(store, resume_path(number), number, {"resumed_from": (str, type(None))})["resumed_from"]
        attempt = replace(attempt, resumed=True, resumed_from=resumed_from)
    if end_path(number) in present:
        attempt = replace(attempt, outcome=_record(store, end_path(number), number, {"outcome": str})["outcome"])
    return attempt


def _record(store: Store, path: str, number: int, fields: dict[str, Any]) -> dict[str, Json]:
    source = store.locate(path)
    body = unseal(store.read(path, stop=_MAX_RECORD_BYTES + 1), source, _REMEDY)
    if body.get("attempt") != number or not all(field in body and isinstance(body[field], kind) for field, kind in fields.items()):
        raise CheckpointCorrupt(
            explain(
                f"{source} is no record of attempt {number}.",
                expected=f"attempt={number} and the fields {', '.join(fields)}",
                found=str(sorted(body))[:200],
                remedy=_REMEDY,
            )
        )
    return body
