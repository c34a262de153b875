"""A run that is not where it was looked for: what is there, and what may have been meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager

from disttrain.checkpoint.trouble import answering
from disttrain.errors import UsageError

_SHOWN = 5


@contextmanager
def looking_at(place: str) -> Iterator[None]:
    """Around what reads a place that a person has named: a file in a folder's place is wrong use, and storage that fails is told."""
    try:
        with answering(place):
            yield
    except NotADirectoryError as error:
        raise UsageError(f"{place} is a file, and no run.\n  expected  a directory that disttrain launch has written") from error


def no_run(place: str) -> UsageError:
    """The error for a place that holds no run, with the runs in it or beside it."""
    from disttrain.rundir.summaries import run_names  # late: only where something is wrong

    trimmed = place.rstrip("/")
    parent, _, name = trimmed.rpartition("/")
    expected, remedy = "a directory that disttrain launch --run-dir has written", ""
    if within := run_names(place):
        expected = (
            f"one of the {len(within)} runs in it: {_some(place, within)}" if len(within) > 1 else f"the run in it: {trimmed}/{within[0]}"
        )
        remedy = f"\n  try       disttrain runs {place}"
    elif beside := run_names(parent or "."):
        near = difflib.get_close_matches(name, beside, n=_SHOWN, cutoff=0.5)
        expected += f", such as {_some(parent, near or beside)}"
    return UsageError(f"{place} holds no run.\n  expected  {expected}{remedy}")


def _some(folder: str, names: list[str]) -> str:
    shown = [f"{folder.rstrip('/')}/{name}" if folder else name for name in names[:_SHOWN]]
    return ", ".join(shown) + (" ..." if len(names) > _SHOWN else "")
