"""What a worker does on its way out of a group or of its life: whatever fails there, it must still be heard of."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

_log = logging.getLogger(__name__)


def tried(what: str, step: Callable[..., Any], *arguments: Any) -> Any:
    """What `step` returns; None where it raised, which is told as a failure of `what`.

    Whatever a communication library raises as its group ends, that group is over for us, and what follows must be done: a worker whose own
    thread died of it would obey nobody, while its lease is renewed.
    """
    try:
        return step(*arguments)
    except Exception as error:
        _log.warning("%s failed: %s: %s", what, type(error).__name__, error)
        return None


def end_this_process(reason: str) -> None:
    """At once, whatever its threads do."""
    _log.critical("this worker ends itself: %s", reason)
    os._exit(1)
