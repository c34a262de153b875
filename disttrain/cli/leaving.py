"""The end of the command's process."""

from __future__ import annotations

import atexit
import sys
from typing import NoReturn

from disttrain.launch.stopping import end_process


def leave(code: int) -> NoReturn:
    """End with that code: at once where a Ray is still being started, which nothing interrupts; the sweeper ends what it has begun."""
    launching = sys.modules.get("disttrain.launch.cluster_start")  # only a launch loads it
    if launching is not None and launching.is_starting():
        from disttrain.clusters.ray.manners import forget_exit_hook  # late: only where a Ray was begun

        forget_exit_hook()  # Ray's own would wait for it
        atexit._run_exitfuncs()  # the script's
        end_process(code)
    sys.exit(code)
