"""Why a worker died, for people; and whether it was a fault of its own: pure, from what Ray said and what was found on its machine."""

from __future__ import annotations

import os

from ray.exceptions import ActorUnavailableError, RayTaskError

from disttrain.clusters.ray import compat
from disttrain.clusters.ray.last_words import file_name, read_last_words
from disttrain.clusters.ray.lookout import Findings, ProcessFacts

PLACE_FAILED = "its place failed: "  # how those begin whose GPU, or its driver, did not do its part
LEASE_OVER = "ended itself: "  # how the last words of a worker begin whose lease is over


def reason_of(error: BaseException, facts: ProcessFacts | None, found: Findings | None) -> tuple[str, bool]:
    """The reason, and `crashed`: did the process end itself by a fault of its own? What nobody knows is none.

    Args:
        error: Ray's.
        facts: what the worker said of itself; None where it did not live so long.
        found: what its machine says; None where nobody there was asked or answered.
    """
    text = str(error)
    if isinstance(error, ActorUnavailableError):
        return f"Ray lost the connection to it: {compat.brief(error)}", False
    if isinstance(error, RayTaskError):
        return compat.brief(error), False
    if found is not None and found.last_words is not None:
        words = found.last_words
        lease = words.reason.startswith((LEASE_OVER, PLACE_FAILED))  # cut off, given up, or its GPU's: no fault of its code
        return words.reason + (f" at {words.where}" if words.where and not lease else ""), not lease
    if compat.ran_out_of_memory(text):
        return f"killed for want of memory by Ray's memory monitor: {compat.brief(error)}", False
    if compat.was_terminated(text):
        return "ended by a SIGTERM", False
    code = compat.exit_code_in(text)
    if code is not None:
        return f"exit code {code}", True
    if compat.says_node_died(text):
        return f"its machine is gone: {compat.brief(error)}", False
    if facts is not None and found is not None and found.oom_kills is not None and found.oom_kills > (facts.oom_kills or 0):
        return "killed by SIGKILL, most likely by the kernel for want of memory: its machine ended a process for that meanwhile", False
    if facts is not None and found is not None:
        return "ended without a word: SIGKILL, or another signal from outside", False
    return compat.brief(error), False


def early_findings(text: str) -> Findings | None:
    """About a worker that died before it could introduce itself, from Ray's `text`: its last words, where they lie on this machine."""
    pid, folder = compat.pid_in(text), compat.logs_folder()
    if pid is None or folder is None:
        return None
    return Findings(read_last_words(os.path.join(folder, file_name(pid))), None)
