"""What a worker's process leaves in a file when it dies by a fault of its own: the signal and the line of Python, or the exit code.

Nobody else can say: a process's exit status is given to its parent alone, which is Ray's raylet, and Ray passes on that a connection ended.
"""

from __future__ import annotations

import faulthandler
import os
import re
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

_SIGNALS = {
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Floating-point exception": "SIGFPE",
    "Floating point exception": "SIGFPE",
    "Illegal instruction": "SIGILL",
    "Segmentation fault": "SIGSEGV",
}
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+|\?\?\?) in (?P<function>.+)')
_PACKAGE = str(Path(__file__).parents[2])


@dataclass(frozen=True, slots=True)
class LastWords:
    """Why a process ended, in its own words. `where` is the innermost line of the script's own code, "" where there is none."""

    reason: str
    where: str = ""


class Testament:
    """Keeps the file; made once in a worker's process.

    Args:
        folder: where it lies, None for nowhere: then nothing is written.

    Attributes:
        path: the file, None where there is none.
    """

    def __init__(self, folder: str | None) -> None:
        self.path: str | None = None
        self._file: IO[bytes] | None = None
        if folder is None:
            return
        self.path = os.path.join(folder, file_name(os.getpid()))
        self._file = open(self.path, "wb", buffering=0)  # noqa: SIM115  open until the process ends, whichever way
        faulthandler.enable(file=self._file, all_threads=False)
        self._pid = os.getpid()
        os.register_at_fork(after_in_child=self._let_go)
        # What the script's code calls; Python's own way out (sys.exit) does not come here, and Ray tells of that.
        leave = os._exit

        def _exit(status: int) -> NoReturn:
            self.write(f"exit code {status}")
            leave(status)

        os._exit = _exit

    def write(self, reason: str) -> None:
        """This process is about to end, for that reason. The first that is written counts."""
        if self._file is not None and os.getpid() == self._pid:
            frame: Any = sys._getframe(1)
            lines = [f"Ended by itself: {reason}"]
            while frame is not None:
                lines.append(f'  File "{frame.f_code.co_filename}", line {frame.f_lineno} in {frame.f_code.co_name}')
                frame = frame.f_back
            self._file.write(("\n".join(lines) + "\n").encode(errors="replace"))

    def _let_go(self) -> None:
        """In a process that this one has forked: how that ends is not the worker's end."""
        faulthandler.disable()
        self._file = None


def file_name(pid: int) -> str:
    """Of the last words of that process."""
    return f"disttrain-{pid}.last-words"


def read_last_words(path: str) -> LastWords | None:
    """What lies in the file; None where its process said nothing, as one that is killed from outside."""
    try:
        text = Path(path).read_text(errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("Ended by itself: "):
            return LastWords(line.partition(": ")[2], _where(text))
        if line.startswith("Fatal Python error: "):
            said = line.partition(": ")[2].strip()
            signal = _SIGNALS.get(said)
            return LastWords(f"killed by {signal}" if signal else f"fatal error of Python: {said}", _where(text))
    return None


def _where(text: str) -> str:
    """The innermost frame that is neither Python's, nor an installed package's, nor ours; else the innermost."""
    frames = [match for match in map(_FRAME.search, text.splitlines()) if match is not None]
    installed = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")})
    own = [frame for frame in frames if not frame["file"].startswith((*installed, _PACKAGE, "<frozen"))]
    if not (own or frames):
        return ""
    frame = (own or frames)[0]
    return f"{frame['file']}:{frame['line']} in {frame['function']}"
