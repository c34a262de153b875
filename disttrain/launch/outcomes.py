"""How an attempt ended, and the errors that say why nothing more can be done."""

from __future__ import annotations

from typing import Any

from disttrain.errors import InfrastructureError
from disttrain.rundir.directory import FINISHED


def outcome_of(error: BaseException | None) -> str:
    """How an attempt ended, in one word."""
    if error is None:
        return FINISHED
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return "lost" if isinstance(error, InfrastructureError) else "failed"


def details_of(error: BaseException | None) -> dict[str, Any]:
    """What else belongs into the record of that end: the number with which the script ended itself."""
    return {"exit": int(error.code)} if isinstance(error, SystemExit) and isinstance(error.code, int) else {}


def nothing_kept(number: int, run_dir: str, reason: str, newest: str | None) -> InfrastructureError:
    """The error for a fit that is done, but whose last state lies nowhere: the run must not count as finished."""
    return InfrastructureError(
        f"fit number {number + 1} is done, but its result could not be kept in {run_dir}: {reason}\n"
        "  expected  a committed checkpoint of the last step; without one this run is not finished\n"
        f"  try       the same command once that is mended: it goes on from {newest or 'what was committed before'}; "
        "or catch this error and model.save() elsewhere: the model holds the trained weights"
    )


def cluster_lost(trouble: str) -> InfrastructureError:
    """The error for a cluster of which a part is gone that nobody brings back."""
    return InfrastructureError(
        f"{trouble}, and nothing can be done on this cluster without it.\n"
        "  expected  a Ray that lives as long as the run\n"
        "  try       the same command again: it goes on from the newest checkpoint"
    )
