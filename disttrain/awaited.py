"""What a command waits for, told to people from its first moment on: one line that changes in place on a terminal, lines elsewhere.

Standard library alone, and loaded before anything slow is.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from disttrain.clock import Clock, SystemClock

What = str | Callable[[], str | None]  # a word that changes is asked for each time; None: nothing just now

_TICK_S = 0.1
_SHORT_S = 0.25  # what is over so soon is not worth a line
_AGAIN_S = 2.0  # without a word for so long, it is said once more
_LONG_S, _LONG_AGAIN_S = 300.0, 30.0  # a log that nobody reads for hours need not grow by a line each moment
_FRAMES = "|/-\\"
_CLEAR = "\r\x1b[K"


class Screen(Protocol):
    """Where the words go."""

    def write(self, text: str) -> None: ...


class Descriptor:
    """A file descriptor as a screen; what nobody can take, or its encoding has no letter for, is dropped."""

    def __init__(self, number: int, encoding: str = "ascii") -> None:
        self._number, self._encoding = number, encoding

    def write(self, text: str) -> None:
        rest = text.encode(self._encoding, "replace")
        try:
            while rest:
                rest = rest[os.write(self._number, rest) :]
        except OSError:
            return


class Lines:
    """A function as a screen: it is given whole lines, without their ends."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def write(self, text: str) -> None:
        for line in text.splitlines():
            self._say(line)


class Awaited:
    """The line, from `start` to `stop`. Any thread may use it.

    Args:
        terminal: redraw one line in place; else print a line for each thing that is awaited, and again while it lasts.
        columns: how wide the terminal is.
    """

    def __init__(self, screen: Screen, *, terminal: bool, columns: Callable[[], int] = lambda: 80, clock: Clock | None = None) -> None:
        self._screen, self._terminal, self._columns = screen, terminal, columns
        self._clock: Clock = clock or SystemClock()
        self._lock = threading.RLock()  # a signal's handler may print while its own thread holds it
        self._entries: dict[object, tuple[int, What]] = {}  # with the thread that waits
        self._words, self._since_s, self._said_s = "", 0.0, -1.0
        self._told = ""  # the words that people have seen last
        self._drawn = False  # our line stands on the terminal
        self._free = True  # the cursor stands where a line may be drawn
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="awaited", daemon=True)

    def start(self, first: What) -> None:
        """Say what is awaited now, until something else is, and go on saying it."""
        self._entries[None] = threading.get_ident(), first
        self.look(at_once=True)
        self._thread.start()

    def stop(self) -> None:
        """Nothing is awaited any more."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()
        with self._lock:
            self._entries.clear()
            self._erase()

    def add(self, what: What) -> object:
        """This thread awaits something, and nothing else of what it said before, until `remove` is called with what this gives."""
        key = object()
        with self._lock:
            self._entries.pop(None, None)
            self._entries[key] = threading.get_ident(), what
        return key

    def remove(self, key: object) -> None:
        with self._lock:
            self._entries.pop(key, None)

    @contextmanager
    def aside(self, data: bytes) -> Iterator[None]:
        """While somebody else writes `data` to the same place: our line makes room, and comes back below."""
        with self._lock:
            self._erase()
            yield
            if data:
                self._said_s = self._clock.monotonic_s()
                last = data.rpartition(b"\n")[2]
                # a progress bar redraws its whole line; a question such as input() asks must stay
                self._free = not last or last.startswith(_CLEAR.encode())

    def look(self, *, at_once: bool = False) -> None:
        """Say what there is to say now."""
        with self._lock:
            innermost = dict(self._entries.values())  # of each thread
        words = ", ".join(dict.fromkeys(filter(None, map(_words, innermost.values()))))  # outside: they may look at what is slow
        with self._lock:
            now = self._clock.monotonic_s()
            if words != self._words:
                self._words, self._since_s = words, now
            if not words:
                self._erase()
            elif not at_once and now - self._since_s < _SHORT_S:
                return
            elif self._terminal:
                self._draw(now)
            elif words != self._told or now - self._said_s >= (_AGAIN_S if now - self._since_s < _LONG_S else _LONG_AGAIN_S):
                waited = int(now - self._since_s)
                begin = "" if self._free else "\n"  # somebody has printed a line without its end
                self._screen.write(f"{begin}[disttrain] {words}{f' ({waited} s)' if waited and words == self._told else ' ...'}\n")
                self._told, self._said_s, self._free = words, now, True

    def _draw(self, now: float) -> None:
        if not self._free:
            return
        waited = int(now - self._since_s)
        frame = _FRAMES[int(now / _TICK_S) % len(_FRAMES)]
        text = f"{frame} {self._words}{f'  {waited} s' if waited else ''}"
        room = max(1, self._columns() - 1)  # a line that wraps cannot be taken back
        self._screen.write(_CLEAR + (text if len(text) <= room else text[: room - 1] + "~"))
        self._drawn = True

    def _erase(self) -> None:
        if self._drawn:
            self._screen.write(_CLEAR)
            self._drawn = False

    def _run(self) -> None:
        while not self._over.wait(_TICK_S):
            self.look()


def _words(what: What) -> str | None:
    try:
        words = what if isinstance(what, str) else what()
    except Exception:  # it looks at what others change; a word less is no error
        return None
    return None if words is None else "".join(letter if letter.isprintable() else "?" for letter in words)


_told: Awaited | None = None  # of this process's command


@contextmanager
def told_on(descriptor: int, what: What, encoding: str = "ascii") -> Iterator[None]:
    """Inside the block, what is awaited is told on this file descriptor; `what` comes first, until something else is awaited."""
    global _told
    terminal = os.isatty(descriptor) and os.environ.get("TERM") != "dumb"
    screen = Descriptor(descriptor, encoding)
    mine = _told = Awaited(screen, terminal=terminal, columns=lambda: os.get_terminal_size(descriptor).columns or 80)
    os.register_at_fork(after_in_child=_forget)  # the thread stays behind, and may hold the lock
    mine.start(what)
    try:
        yield
    finally:
        mine.stop()
        _told = None


@contextmanager
def told_by(say: Callable[[str], None]) -> Iterator[None]:
    """Inside the block, what is awaited is told line by line, unless somebody is told already."""
    global _told
    if _told is not None:
        yield
        return
    mine = _told = Awaited(Lines(say), terminal=False)
    os.register_at_fork(after_in_child=_forget)
    mine.start(_nothing)
    try:
        yield
    finally:
        mine.stop()
        _told = None


def _nothing() -> None:
    return None


def _forget() -> None:
    global _told
    _told = None


@contextmanager
def awaiting(what: What) -> Iterator[None]:
    """What is awaited inside the block, if anybody is told."""
    told = _told
    if told is None:
        yield
        return
    key = told.add(what)
    try:
        yield
    finally:
        told.remove(key)


@contextmanager
def aside(data: bytes) -> Iterator[None]:
    """Around a write of `data` to the terminal or the log."""
    told = _told
    if told is None:
        yield
        return
    with told.aside(data):
        yield
