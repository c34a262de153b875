"""From an exception to what is printed, once, and to the exit code."""

from __future__ import annotations

import sys
import traceback
from types import TracebackType

import typer

# Typer brings click along in newer releases and depends on it in older ones; its own classes lead to either.
_ClickException = next(parent for parent in typer.BadParameter.__mro__ if parent.__name__ == "ClickException")

_OURS = ("/disttrain/cli/", "/disttrain/launch/", "/typer/", "/click/", "<frozen runpy>", "/runpy.py")


def report_failure(error: BaseException) -> int:
    """Print what a person needs of `error` to stderr; the exit code it means."""
    from disttrain.errors import DisttrainError

    if isinstance(error, SystemExit):
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
            return 1
        return int(error.code or 0)
    if isinstance(error, typer.Exit):
        return error.exit_code
    if isinstance(error, typer.Abort | KeyboardInterrupt):
        return 130
    if isinstance(error, _ClickException):
        error.show()  # type: ignore[attr-defined]
        return 2
    if isinstance(error, DisttrainError):
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    text = getattr(error, "worker_traceback", None)
    if text is None:
        text = "".join(traceback.format_exception(type(error), error, _from_the_script(error.__traceback__)))
    print(text.rstrip(), file=sys.stderr)
    return 1


def _from_the_script(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames that led to the script."""
    start = trace
    while start is not None and any(part in start.tb_frame.f_code.co_filename for part in _OURS):
        start = start.tb_next
    return start or trace
