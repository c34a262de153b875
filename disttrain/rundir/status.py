"""status.json, a hint for people that is overwritten as a run goes, and what a run does as read from storage alone."""

from __future__ import annotations

import json
from typing import Any

from disttrain.checkpoint import CheckpointInfo, Store, bad_checkpoints, list_checkpoints, read_attempts, read_history
from disttrain.rundir.process import is_alive

PATH = "status.json"
_MAX_BYTES = 4 << 20


def write_status(store: Store, status: dict[str, Any]) -> None:
    """Replace status.json."""
    store.put(PATH, json.dumps(status).encode())


def beat(store: Store) -> bytes:
    """What stands in status.json, whatever it is: a driver that lives changes it every second."""
    try:
        return store.read(PATH, stop=_MAX_BYTES)
    except FileNotFoundError:
        return b""


def read_status(store: Store) -> dict[str, Any]:
    """What a run does: the last words of the driver, corrected by what is known of its end.

    Nothing in status.json is believed where another file knows better; one that is damaged is told as `problem`.
    """
    attempts = read_attempts(store, newest_run=True)
    if not attempts:
        return {"state": "empty", "checkpoints": []}
    newest = attempts[-1]
    status, problem = _hint(store)
    if status.get("attempt") != newest.number or not isinstance(status.get("state"), str):
        status = {"attempt": newest.number, "state": "starting"}
    if problem:
        status["problem"] = problem
    status["driver"] = {key: newest.info.get(key) for key in ("host", "pid", "started")}
    if newest.outcome is not None:
        status["state"] = newest.outcome
    elif is_alive(newest.info) is False:
        status["state"] = "lost"
    if status["state"] not in ("running", "starting"):
        status["workers"] = []
    valid, bad = set(read_history(store)), bad_checkpoints(store)
    status["checkpoints"] = [_checkpoint(info, bad) for info in list_checkpoints(store) if info.name in valid]
    return status


def _hint(store: Store) -> tuple[dict[str, Any], str | None]:
    """(status.json, None), or ({}, what is wrong with it)."""
    data = beat(store)
    if not data:
        return {}, None
    where = store.locate(PATH)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        return {}, f"{where} is damaged ({type(error).__name__}); it is only a hint, and a running driver writes it anew"
    if not isinstance(found, dict):
        return {}, f"{where} is damaged (it holds no JSON object); it is only a hint, and a running driver writes it anew"
    return found, None


def _checkpoint(info: CheckpointInfo, bad: set[str]) -> dict[str, Any]:
    return {"name": info.name, "step": info.step, "attempt": info.attempt, **({"damaged": True} if info.name in bad else {})}
