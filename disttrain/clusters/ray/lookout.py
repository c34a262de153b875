"""What a machine says of a process on it: running, stopped or gone, and its last words. Asked here, or of an actor on another node."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Literal

from disttrain.clusters.ray.last_words import LastWords, read_last_words

Condition = Literal["alive", "stopped", "gone"]


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """A worker's process, as it introduces itself.

    Args:
        pid, started: the number, and the kernel's time of its start, which tells it from a later process of the same number.
        node: the Ray node it runs on.
        last_words: its file of last words.
        oom_kills: so many processes the kernel of its machine had ended for want of memory by then; None where it does not say.
        holds: the GPU that it came to lie on, which is left out: it only holds it, so that Ray gives it to nobody else. "" for a worker.
    """

    pid: int
    started: int
    node: str
    last_words: str | None
    oom_kills: int | None
    holds: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found about a process that has ended."""

    last_words: LastWords | None
    oom_kills: int | None


def start_of(pid: int) -> int:
    """The kernel's time of the process's start; 0 where there is none, or no /proc."""
    return _stat(pid)[1]


def condition_of(facts: ProcessFacts) -> Condition:
    """Does it run (or sleep), is it held still by a signal or a debugger, or is it gone (also: a zombie)?"""
    state, started = _stat(facts.pid)
    if started != facts.started or state in "ZX":
        return "gone"
    return "stopped" if state in "Tt" else "alive"


def end(facts: ProcessFacts) -> None:
    """SIGKILL: Ray's own way does not end a process that is stopped. A later process of the same number is left alone."""
    if start_of(facts.pid) == facts.started:
        try:
            os.kill(facts.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return


def findings(facts: ProcessFacts) -> Findings:
    """After its death."""
    return Findings(None if facts.last_words is None else read_last_words(facts.last_words), oom_kills())


def oom_kills() -> int | None:
    """So many processes the kernel has ended for want of memory since it started; None where it does not say."""
    try:
        with open("/proc/vmstat") as file:
            for line in file:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    except OSError:
        pass
    return None


def _stat(pid: int) -> tuple[str, int]:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return "X", 0
    return fields[0].decode(), int(fields[19])


class Lookout:
    """The actor on a node other than the driver's; it holds no CPU."""

    def condition_of(self, facts: ProcessFacts) -> Condition:
        return condition_of(facts)

    def end(self, facts: ProcessFacts) -> None:
        end(facts)

    def findings(self, facts: ProcessFacts) -> Findings:
        return findings(facts)
