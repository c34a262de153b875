"""A terminal for tests: a pseudo-terminal that a command runs on, as a person's, and what a person sees on it."""

from __future__ import annotations

import codecs
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PIECE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b.|.", re.DOTALL)


class Glass:
    """What stands on the screen, also what has scrolled off; as much of a terminal's language as is used here.

    Attributes:
        lines: from the top.
        wrapped: lines that went on in the next one because they were too long.
        codes: the escape sequences that came, without their numbers' meaning: `[K`, `[31m`.
    """

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.lines = [""]
        self.wrapped: list[str] = []
        self.codes: list[str] = []
        self._column = 0

    def feed(self, text: str) -> None:
        for match in _PIECE.finditer(text):
            piece = match[0]
            if piece == "\r":
                self._column = 0
            elif piece == "\n":
                self.lines.append("")
                self._column = 0
            elif match[2] is not None:
                self.codes.append(f"[{match[1]}{match[2]}")
                if match[2] == "K":
                    self.lines[-1] = self.lines[-1][: self._column]
            elif piece.isprintable():
                self._put(piece)

    def _put(self, letter: str) -> None:
        if self._column >= self.columns:
            self.wrapped.append(self.lines[-1])
            self.lines.append("")
            self._column = 0
        line = self.lines[-1].ljust(self._column)
        self.lines[-1] = line[: self._column] + letter + line[self._column + 1 :]
        self._column += 1


class Terminal:
    """A command on a terminal of its own, in a session of its own. Close it: what still runs there is ended.

    Attributes:
        glass: what is seen.
        states: the last line each time something came, without repetitions: what moved.
    """

    def __init__(
        self, command: Sequence[str], folder: Path, variables: Mapping[str, str], *, columns: int = 100
    ) -> None:  # fmt: skip
        self._person, theirs = os.openpty()
        self._resize(theirs, columns)
        self.glass, self.states = Glass(columns), [""]
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.process = subprocess.Popen(
            list(command), stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env={"TERM": "xterm", **variables},
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(theirs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._person)

    @property
    def text(self) -> str:
        return "\n".join(self.glass.lines)

    def resize(self, columns: int) -> None:
        """Drag the window's edge: the command is told as by any terminal. What it has written before is still as wide as it was."""
        self._resize(self._person, columns)

    def type(self, keys: str) -> None:
        os.write(self._person, keys.encode())

    def until(self, condition: Callable[[Terminal], bool], limit_s: float = 600.0) -> None:
        """Read on until it holds."""
        end = time.monotonic() + limit_s
        while not condition(self):
            assert time.monotonic() < end, f"it never came:\n{self.text}"
            if not self._read():
                assert condition(self), f"the command has ended:\n{self.text}"

    def wait(self, limit_s: float = 600.0) -> int:
        """Read to the end; the exit code."""
        end = time.monotonic() + limit_s
        while self._read():
            assert time.monotonic() < end, f"it does not end:\n{self.text}"
        return self.process.wait(300)

    def _read(self) -> bool:
        """What there is, within a moment; False at the end."""
        if not select.select([self._person], [], [], 0.2)[0]:
            return self.process.poll() is None
        try:
            data = os.read(self._person, 65536)
        except OSError:  # nobody holds the other end any more
            return False
        self.glass.feed(self._decoder.decode(data))
        if self.glass.lines[-1] != self.states[-1]:
            self.states.append(self.glass.lines[-1])
        return bool(data)

    def _resize(self, descriptor: int, columns: int) -> None:
        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
