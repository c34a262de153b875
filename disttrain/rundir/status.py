"""status.json, a hint for people that is overwritten as a run goes, and what a run does as read from storage alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from disttrain.checkpoint import Attempt, CheckpointInfo, Store, bad_checkpoints, list_checkpoints, read_attempts, read_history
from disttrain.checkpoint.layout import CommitName
from disttrain.errors import DisttrainError
from disttrain.parsing import parsed_object
from disttrain.redaction import hidden_values
from disttrain.rundir.finished_calls import read_finished
from disttrain.rundir.process import is_alive

PATH = "status.json"
_MAX_BYTES = 4 << 20


def _count(value: Any) -> bool:
    return type(value) is int


def _number(value: Any) -> bool:
    return isinstance(value, int | float)


def _word(value: Any) -> bool:
    return type(value) is str


def _worker(value: Any) -> bool:
    facts: dict[str, Callable[[Any], bool]] = {
        "rank": _count,
        "worker": _word,
        "pid": _count,
        "host": _word,
        "virtual_ranks": lambda ranks: _list(ranks, _count),
    }
    return isinstance(value, dict) and all(is_so(value.get(name)) for name, is_so in facts.items())


def _list(value: Any, of: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(of, value))


# What people and programs read of it, if it is there at all.
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "state": _word,
    "phase": _word,
    "kind": _word,
    **dict.fromkeys(("beat", "call", "epoch", "epochs", "step", "step_in_epoch", "generation"), _count),
    **dict.fromkeys(("attempt", "steps_per_epoch", "virtual_workers"), lambda count: count is None or _count(count)),
    "logs": lambda logs: isinstance(logs, dict) and all(map(_number, logs.values())),
    "workers": lambda workers: _list(workers, _worker),
}


def write_status(store: Store, status: dict[str, Any]) -> None:
    """Replace status.json."""
    store.put(PATH, json.dumps(hidden_values(status)).encode())


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
    if status.get("attempt") != newest.number or "state" not in status:
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
        try:
            status |= _finished_fit(store, attempts)
        except DisttrainError as error:
            status["problem"] = str(error).splitlines()[0]
    valid, bad = set(read_history(store)), bad_checkpoints(store)
    status["checkpoints"] = [_checkpoint(info, bad) for info in list_checkpoints(store) if info.name in valid]
    return status


def _hint(store: Store) -> tuple[dict[str, Any], str | None]:
    """(status.json, None), or ({}, what is wrong with it)."""
    data = beat(store)
    if not data:
        return {}, None
    try:
        found = parsed_object(data)
        for name, is_so in _FIELDS.items():
            if name in found and not is_so(found[name]):
                raise ValueError(f"its {name} is none")
    except ValueError as error:
        return {}, f"{store.locate(PATH)} is damaged ({error}); it is only a hint, and a running driver writes it anew"
    return found, None


def _finished_fit(store: Store, attempts: list[Attempt]) -> dict[str, Any]:
    """Epoch, step and metrics at the end of the newest finished fit, from its record, which is believed before any hint; {} for none."""
    for call, record in sorted(read_finished(store, attempts).items(), reverse=True):
        epochs, commit = record.get("epoch"), CommitName.parse(str(record.get("commit")))
        if record.get("kind") != "fit" or commit is None or not isinstance(epochs, list) or not epochs:
            continue
        history = record.get("history") or {}
        logs = {name: values[-1] for name, values in history.items() if values and isinstance(values[-1], int | float)}
        asked = (record.get("identity") or {}).get("epochs")
        step = next((info.step for info in list_checkpoints(store) if info.name == record["commit"]), None)
        found = {"call": call, "kind": "fit", "epoch": epochs[-1] + 1, "epochs": asked, "step": step, "logs": logs}
        return {name: value for name, value in found.items() if value is not None}
    return {}


def _checkpoint(info: CheckpointInfo, bad: set[str]) -> dict[str, Any]:
    return {"name": info.name, "step": info.step, "attempt": info.attempt, **({"damaged": True} if info.name in bad else {})}
