"""The `disttrain` command: parse, build a config, call one function, print.

Exit codes: 0 done · 1 the user's code failed · 2 wrong use · 3 infrastructure, run it again · 130 interrupted.
"""

from __future__ import annotations

import io
import sys
from contextlib import ExitStack
from typing import NoReturn

from disttrain.awaited import told_on

__all__ = ["main"]

_SILENT = ("-h", "--help", "--print-config")  # what only prints, prints nothing else


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command; the exit code is the process's. The first word of a launch comes before anything slow is loaded."""
    words = sys.argv[1:] if arguments is None else arguments
    with ExitStack() as telling:
        script = _launched(words)
        if script is not None and (descriptor := _own(sys.stdout)) is not None:
            telling.enter_context(told_on(descriptor, f"loading disttrain, to launch {script}", sys.stdout.encoding))
        try:
            from disttrain.cli.app import run  # late: brings the libraries of all commands
        except KeyboardInterrupt:  # run hears it from here on
            telling.close()
            sys.exit(130)
        run(words, telling.close)
    raise AssertionError("run ends the process")


def _launched(words: list[str]) -> str | None:
    """The script of a launch that will say more than a page of help."""
    own = words[: words.index("--")] if "--" in words else words
    if own[:1] != ["launch"] or any(word in _SILENT for word in own):
        return None
    return next((word for word in own[1:] if word.endswith(".py")), "a script")


def _own(stream: object) -> int | None:
    """The descriptor of a stream of this process, or None for somebody's own, such as a test's."""
    try:
        return stream.fileno() if isinstance(stream, io.TextIOWrapper) else None
    except (OSError, ValueError):
        return None
