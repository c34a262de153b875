"""The end of a process group: its threads, sockets and tensors are let go of, and nobody waits for it.

Tensors under an operation stay referenced until it has ended, so that late bytes never reach memory that somebody else has by then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

_ROUND = timedelta(milliseconds=20)
_ROUNDS = 50  # a second in all; after a cut, operations end within milliseconds
_PATIENCE = timedelta(seconds=1)
_kept: list[object] = []  # only where no thread could be started: a leak is better than a worker that hangs


def let_go(belongings: list[Any]) -> None:
    """Drop what is in `belongings`, which holds the last references, on a thread of its own: destructors may wait. Never raises."""
    _on_a_thread(belongings.clear, belongings)


def end(belongings: list[Any]) -> None:
    """Cut a transport, the first of `belongings`, see its works, the rest, come to an end, then let go of all. Never raises, is soon over.

    When it returns, none of the works touches its tensors any more, unless one would not end; then a thread keeps them until it does.
    """
    rounds = _ROUNDS
    try:
        belongings[0].cut()
        while rounds and not _all_ended(belongings, _ROUND):
            rounds -= 1
    except Exception:  # whatever torch says now, the group is over
        rounds = 0
    if rounds:
        let_go(belongings)
    else:
        _on_a_thread(lambda: _wait_and_drop(belongings), belongings)


def _all_ended(belongings: list[Any], patience: timedelta) -> bool:
    return all(belongings[0].complete_within(work, patience) for work in belongings[1:])


def _wait_and_drop(belongings: list[Any]) -> None:
    while not _all_ended(belongings, _PATIENCE):
        pass
    belongings.clear()


def _on_a_thread(work: Callable[[], object], belongings: object) -> None:
    try:
        threading.Thread(target=work, name="let-go-of-group", daemon=True).start()
    except RuntimeError:  # no more threads in this container
        _kept.append(belongings)
