"""How the members of a generation come together, and how one that is told to leaves before all are there.

First they meet in the store, where nobody waits in native code and however long: a member may have a job to open before it comes. Then all
are there, and connecting is a matter of milliseconds; but it waits in native code, so it runs on a thread of its own. A member that is told
to leave meanwhile leaves that thread behind: it ends by itself, at the latest with the limit for connecting, and takes all it made with it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from disttrain.collectives.port import GroupBroken

_Made = TypeVar("_Made")
_LOOK_AROUND_S = 0.02
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.0005, 0.1


def meet(store: Any, size: int, aborted: threading.Event, go_on: Callable[[], bool] = lambda: True) -> None:
    """Return when `size` members have come to `store`, whose keys are this generation's alone.

    The store is asked again and again, with pauses of a tenth of the time waited: its own timed wait writes a warning at each end.

    Raises:
        GroupBroken: aborted meanwhile, or `go_on` said no, or the store is gone.
    """
    try:
        if store.add("arrived", 1) >= size:
            store.set("all", "here")
            return
        waited_s = 0.0
        while not store.check(["all"]):
            pause_s = min(max(_FIRST_PAUSE_S, waited_s / 10), _LONGEST_PAUSE_S)
            if aborted.wait(pause_s):
                raise GroupBroken("the generation was aborted while it formed")
            if not go_on():
                raise GroupBroken("a member is gone")
            waited_s += pause_s
    except RuntimeError as error:
        raise GroupBroken(f"the group could not be formed, the store of the run is gone: {error}") from error


def connect(make: Callable[[], _Made], aborted: threading.Event) -> _Made:
    """What `make` makes.

    Raises:
        GroupBroken: it failed, or the generation was aborted before it was done.
    """
    outcome: queue.SimpleQueue[_Made | str] = queue.SimpleQueue()  # held by the thread alone, once the one who waits has left

    def run() -> None:
        try:
            outcome.put(make())
        except BaseException as error:
            outcome.put(str(error))  # its words only: see compat.Gloo

    threading.Thread(target=run, name="form-group", daemon=True).start()
    while True:
        try:
            made = outcome.get(timeout=_LOOK_AROUND_S)
        except queue.Empty:
            if aborted.is_set():
                raise GroupBroken("the generation was aborted while it formed") from None
            continue
        if isinstance(made, str):
            raise GroupBroken(f"the group could not be formed: {made}")
        return made
