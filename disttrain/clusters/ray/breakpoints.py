"""`breakpoint()` in code that runs in a worker: there is no terminal, and Ray's own debugger would wait for ever for somebody."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

from disttrain.errors import UsageError


def refuse_breakpoints() -> None:
    """From now on, in this process."""
    if os.environ.get("PYTHONBREAKPOINT", "").startswith("ray."):  # Ray's own; it has overwritten what stood there
        del os.environ["PYTHONBREAKPOINT"]
    sys.breakpointhook = _refused


def _refused(*_: Any, **__: Any) -> NoReturn:
    frame = sys._getframe(1)
    raise UsageError(
        f"breakpoint() at {frame.f_code.co_filename}:{frame.f_lineno}, in a worker, which has no terminal.\n"
        "  expected  breakpoints in what runs in the driver: the script itself and callbacks\n"
        "  try       the script in one process, python SCRIPT, where layers and losses stop too"
    )
