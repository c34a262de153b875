"""Peers that crash are measured anew, so many times at most, and it is counted and said; a crash of ours ends the benchmark."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from harness import JobCrashed, JobFailed, progress

OURS = "disttrain"
Measured = TypeVar("Measured")


class Crashes:
    """The crashes of the peers in one benchmark. torchrun aborts now and then on some machines, before a line of the script has run.

    Args:
        tries: of one measurement, the first among them.

    Attributes:
        of: for each peer that crashed, what each crash was.
    """

    def __init__(self, tries: int = 4) -> None:
        self.of: dict[str, list[str]] = {}
        self._tries = tries

    def retried(self, system: str, attempt: Callable[[int], Measured]) -> Measured:
        """`attempt(number)`, number 0 first, and again with the next number where the peer has crashed in it.

        Raises:
            JobFailed: ours crashed, or a peer did each time; whatever else the attempt raises.
        """
        for number in range(self._tries):
            try:
                return attempt(number)
            except JobCrashed as crash:
                if system == OURS:
                    raise
                what = str(crash).splitlines()[0].rstrip(".")
                self.of.setdefault(system, []).append(what)
                progress(f"{what}: try {number + 1} of {self._tries}")
                last = crash
        raise JobFailed(f"{system} crashed in each of {self._tries} tries, the last time so: {last}") from last

    def print(self) -> None:
        """A line for each peer that crashed, below the table whose numbers come from its other tries."""
        for system, found in self.of.items():
            print(f"note: {system} crashed {len(found)} x and was measured anew ({'; '.join(sorted(set(found)))})\n", flush=True)
