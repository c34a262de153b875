"""From an exception to what is printed, once, and to the exit code."""

from __future__ import annotations

import sys

import typer

from disttrain.errors import DisttrainError
from disttrain.redaction import hidden
from disttrain.tracebacks import own_place, own_traceback

# Typer brings click along in newer releases and depends on it in older ones; its own classes lead to either.
_ClickException = next(parent for parent in typer.BadParameter.__mro__ if parent.__name__ == "ClickException")


def report_failure(error: BaseException) -> int:
    """Print what a person needs of `error` to stderr; the exit code it means."""
    if isinstance(error, SystemExit):
        return _script_ended(error)
    if isinstance(error, typer.Exit):
        return error.exit_code
    if isinstance(error, typer.Abort | KeyboardInterrupt):
        return 130
    if isinstance(error, _ClickException):
        error.show()  # type: ignore[attr-defined]
        return 2
    if isinstance(error, DisttrainError):
        print(hidden(f"{type(error).__name__}: {error}"), file=sys.stderr)
        return error.exit_code
    text = getattr(error, "worker_traceback", None)
    if text is None:
        text = own_traceback(error)
    print(hidden(text.rstrip()), file=sys.stderr)
    return 1


def _script_ended(ended: SystemExit) -> int:
    """Whatever number the script ends itself with, it is the script's own doing; 2, 3 and 130 have a meaning of ours."""
    if not ended.code:
        return 0
    where = own_place(ended)
    words = f"the script ended itself with sys.exit({ended.code}){where and f' at {where}'}" if isinstance(ended.code, int) else ended.code
    print(hidden(words) if isinstance(words, str) else words, file=sys.stderr)
    return 1
