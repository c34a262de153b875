"""From an exception to what is printed, once, and to the exit code."""

from __future__ import annotations

import sys

import typer

from disttrain.errors import DisttrainError
from disttrain.tracebacks import own_traceback

# Typer brings click along in newer releases and depends on it in older ones; its own classes lead to either.
_ClickException = next(parent for parent in typer.BadParameter.__mro__ if parent.__name__ == "ClickException")


def report_failure(error: BaseException) -> int:
    """Print what a person needs of `error` to stderr; the exit code it means."""
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
        text = own_traceback(error)
    print(text.rstrip(), file=sys.stderr)
    return 1
