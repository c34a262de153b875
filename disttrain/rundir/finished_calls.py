"""calls/000002-a0001.json: the result of each finished fit or evaluate, which a restart takes from here."""

from __future__ import annotations

import json
import re
from typing import Any

from disttrain.checkpoint import Attempt, CommitName, Store, counts, last_sequences, list_checkpoints
from disttrain.checkpoint.records import read_record, record

FOLDER = "calls"
_FILE = re.compile(r"(\d{6,})-a(\d{4,})\.json", re.ASCII)
_REMEDY = "restore this file from a copy, or delete it: the call is then done again from its newest checkpoint"


def write_finished(store: Store, call: int, attempt: int, body: dict[str, Any]) -> None:
    """Record the result of a call, once.

    Args:
        body: JSON; "commit" is the checkpoint with the state at its end, or "after" the newest checkpoint when it was made.
    """
    store.create(f"{FOLDER}/{call:06d}-a{attempt:04d}.json", record("call", {"call": call, **_plain(body)}))


def read_finished(store: Store, attempts: list[Attempt]) -> dict[int, dict[str, Any]]:
    """By number, the newest record of each call of these attempts that belongs to the valid history.

    One that rests on a checkpoint outside of it tells of what has been taken back: its attempt was superseded, or the run was told to
    go on from an earlier step.

    Raises:
        CheckpointCorrupt: a record is damaged; the message names the file.
    """
    last = last_sequences(attempts, (info.name for info in list_checkpoints(store)))
    numbers = {attempt.number for attempt in attempts}
    found: dict[int, tuple[int, dict[str, Any]]] = {}
    for match in filter(None, map(_FILE.fullmatch, store.list(FOLDER))):
        call, attempt = int(match[1]), int(match[2])
        if attempt not in numbers or (call in found and found[call][0] > attempt):
            continue
        body = read_record(store, f"{FOLDER}/{match[0]}", "call", _REMEDY)
        if body is None or body.pop("call", None) != call:
            continue
        rests_on = CommitName.parse(str(body.get("commit") or body.get("after") or ""))
        if rests_on is None or counts(rests_on, last):
            found[call] = (attempt, body)
    return {call: body for call, (_, body) in found.items()}


def files_of(store: Store, call: int) -> list[str]:
    """The records of a call, by whichever attempts."""
    matches = filter(None, map(_FILE.fullmatch, store.list(FOLDER)))
    return [f"{FOLDER}/{match[0]}" for match in matches if int(match[1]) == call]


def _plain(body: dict[str, Any]) -> dict[str, Any]:
    """In JSON types and none of their kin: what a callback puts into the logs may be NumPy's."""
    made: dict[str, Any] = json.loads(json.dumps(body, default=lambda value: value.tolist()))
    return made
