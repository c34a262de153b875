"""Which checkpoints count: the newest attempt's, then back along what each attempt resumed from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from disttrain.checkpoint.layout import CommitName
from disttrain.errors import UsageError


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of the driver on a run directory.

    Attributes:
        number: from 1, one more than any before it.
        fresh: it was told to start from nothing; what earlier attempts committed does not count from here on.
        nonce: 32 hex digits that tell its own record from one that a rival wrote under the same number.
        info: JSON of whoever started it: host, pid, time, versions.
        resumed: whether it has recorded what it resumed from. It commits nothing before that.
        resumed_from: the name of that checkpoint; None for nothing.
        outcome: how it ended, None while it runs or where it was killed.
    """

    number: int
    fresh: bool = False
    nonce: str = ""
    info: dict[str, Any] = field(default_factory=dict)
    resumed: bool = False
    resumed_from: str | None = None
    outcome: str | None = None


def valid_history(attempts: Iterable[Attempt], commits: Iterable[str]) -> list[str]:
    """The names, among `commits`, that a resume may choose from, newest first.

    All commits of the newest attempt; then those of the attempt that it resumed from, up to the one it resumed from; and so on. An
    attempt that died before it recorded what it resumed from has committed nothing, and is passed over. A fresh one, and one that
    resumed from nothing, ends the chain. So what a driver that was thought dead commits after another took over falls outside, whatever
    its clock says. Commits of an attempt whose records were lost count, but what they built on is not known: they end the chain too.
    Texts that are no commit name fall outside.
    """
    names = [name for name in map(CommitName.parse, commits) if name is not None]
    last = last_sequences(attempts, map(str, names))
    chain = [name for name in names if counts(name, last)]
    return [str(name) for name in sorted(chain, key=lambda name: (name.attempt, name.sequence, name.step), reverse=True)]


def newest_of_step(history: Iterable[str], step: int, where: str, purpose: str = "") -> str:
    """Of commits, the newest first, that of `step`.

    Args:
        where: whose they are, for the message.
        purpose: what it is wanted for, likewise.

    Raises:
        UsageError: there is none; the others are named.
    """
    names = [name for name in map(CommitName.parse, history) if name is not None]
    chosen = next((name for name in names if name.step == step), None)
    if chosen is not None:
        return str(chosen)
    steps = [str(found) for found in sorted({name.step for name in names}, reverse=True)]
    raise UsageError(
        f"{where} has no checkpoint of step {step}{purpose}.\n"
        f"  expected  {'one of ' + ', '.join(steps[:12]) if steps else 'a committed checkpoint; there is none'}\n"
        "  try       disttrain status shows them"
    )


def counts(name: CommitName, last: Mapping[int, int | None]) -> bool:
    """Is a commit one of the valid history? `last` is what `last_sequences` gave."""
    limit = last.get(name.attempt, 0)
    return limit is None or name.sequence <= limit


def last_sequences(attempts: Iterable[Attempt], commits: Iterable[str]) -> dict[int, int | None]:
    """For each attempt of the valid history, newest first, the last of its saves that counts; None for all of them."""
    by_number = {attempt.number: attempt for attempt in attempts}
    committed = {name.attempt for name in filter(None, map(CommitName.parse, commits))}
    numbers = by_number.keys() | committed
    last: dict[int, int | None] = {}
    number: int | None = max(numbers, default=None)
    up_to: int | None = None  # sequence, of the attempt `number`; None: all
    while number is not None:
        last[number] = up_to
        number, up_to = _built_on(by_number.get(number), number, number in committed, numbers)
    return last


def _built_on(attempt: Attempt | None, number: int, committed: bool, numbers: Iterable[int]) -> tuple[int | None, int | None]:
    """(attempt, last sequence of it that counts) below attempt `number`; the attempt is None at the end of the chain."""
    if attempt is None or attempt.fresh:
        return None, None
    if not attempt.resumed:
        return (None if committed else max((other for other in numbers if other < number), default=None)), None
    origin = CommitName.parse(attempt.resumed_from) if attempt.resumed_from is not None else None
    # downwards only, so that no record can make a circle
    return (origin.attempt, origin.sequence) if origin is not None and origin.attempt < number else (None, None)
