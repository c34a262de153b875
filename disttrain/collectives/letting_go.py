"""The end of a process group: its threads, sockets and tensors are let go of, and nobody waits for it.

Tensors under an operation stay referenced until it has ended, so that late bytes never reach memory that somebody else has by then.
In each list of belongings the transport comes first, then its works.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

_ROUND = timedelta(milliseconds=20)
_ROUNDS = 50  # a second in all; after a cut, operations end within milliseconds, or not before their time limit
_PATIENCE = timedelta(seconds=1)
_kept: list[object] = []  # only where no thread could be started: a leak is better than a worker that hangs


def let_go(belongings: list[Any]) -> None:
    """Drop a transport under which nothing is under way; destructors wait, so on a thread of its own. Never raises."""
    _on_a_thread(belongings.clear, belongings)


def end(belongings: list[Any]) -> None:
    """Cut a transport, and let go of it and of its works as each has ended. Returns at once. Never raises."""
    _on_a_thread(lambda: _end(belongings), belongings)


def end_now(belongings: list[Any], go_on: Callable[[], bool]) -> bool:
    """Cut a transport and wait until its works have ended: True, and none of them touches its tensors any more.

    False, with the belongings left as they are, where one would not end, or where `go_on` says that there is no more need to wait.
    """
    if not _cut(belongings):
        return False
    for _ in range(_ROUNDS):
        if _all_ended(belongings, _ROUND):
            let_go(belongings[:])
            belongings.clear()
            return True
        if not go_on():
            break
    return False


def _end(belongings: list[Any]) -> None:
    _cut(belongings)
    _wait_and_drop(belongings)


def _cut(belongings: list[Any]) -> bool:
    try:
        belongings[0].cut()
    except Exception:  # whatever torch says now, the transport is over; its operations have a time limit
        return False
    return True


def _wait_and_drop(belongings: list[Any]) -> None:
    while not _all_ended(belongings, _PATIENCE):
        pass
    belongings.clear()


def _all_ended(belongings: list[Any], patience: timedelta) -> bool:
    return all(belongings[0].complete_within(work, patience) for work in belongings[1:])


def _on_a_thread(work: Callable[[], object], belongings: object) -> None:
    try:
        threading.Thread(target=work, name="let-go-of-group", daemon=True).start()
    except RuntimeError:  # no more threads in this container
        _kept.append(belongings)
