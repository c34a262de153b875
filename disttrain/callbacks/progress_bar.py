"""The line that shows how far an epoch is, and notes that do not break it: on a terminal, in a notebook, in a pipe or a log."""

from __future__ import annotations

import math
import shutil
import sys
import threading
import weakref
from typing import Any, TextIO

from disttrain.callbacks import notebook
from disttrain.callbacks.prompt import to_say
from disttrain.clock import Clock, SystemClock

_WIDTH = 20
_INTERVAL_S = {"terminal": 0.05, "notebook": 0.2, "log": 2.5, "plain": math.inf}
_LONG_S, _LONG_INTERVAL_S = 300.0, 30.0  # a log that nobody reads for hours need not grow by a line each moment


class ProgressBar:
    """One epoch's line, as Keras has it: `12/60 ━━━━──────────────── 3s 58ms/step - accuracy: 0.4100 - loss: 1.7000`.

    On a terminal and in a notebook it is redrawn in place, and the seconds are those left; at the end, those it took. Elsewhere a long
    epoch has a line every few seconds, and each epoch one at its end. It may be used by several threads.

    Args:
        target: steps of the epoch, or None if unknown.
        title: such as `Epoch 1/10`, printed above the line.
        stream: where to print; standard output, as it is now, unless told.
        clock: where time comes from.
        plain: one line for the whole epoch, at its end, wherever that goes.
    """

    def __init__(
        self,
        target: int | None,
        title: str = "",
        *,
        stream: TextIO | None = None,
        clock: Clock | None = None,
        plain: bool = False,
    ) -> None:
        self.target, self.title = target, title
        self._stream = stream if stream is not None else sys.stdout
        self._clock: Clock = clock if clock is not None else SystemClock()
        shell = None if plain else notebook.shell_of(self._stream)
        self._output = None if shell is None else notebook.Output(shell)
        self._place = "plain" if plain else "notebook" if shell is not None else "terminal" if _is_terminal(self._stream) else "log"
        self._lock = threading.RLock()
        self._line = ""  # what stands on the terminal's last line
        self._current = 0
        self._beside = ""  # what goes on after the steps of the epoch
        self._logs: dict[str, Any] = {}
        self._start_s = self._clock.monotonic_s()
        self._first: tuple[int, float] | None = None  # the first step seen and when: it is slow, and says little of the others
        self._drawn_s = -math.inf if self._place in ("terminal", "notebook") else self._start_s

    def start(self) -> None:
        """Print the title; from now on this is the active bar."""
        with self._lock:
            _begin(self)
            if self._output is not None:
                self._show(self._start_s)
            elif self.title and self._place != "plain":
                self._print(self.title + "\n")

    def update(self, current: int, logs: dict[str, Any] | None = None) -> None:
        """Show that `current` steps are done. Calls that come too fast, or late with an older step, draw nothing."""
        with self._lock:
            if current < self._current:
                return
            now = self._clock.monotonic_s()
            self._current, self._logs = current, dict(logs or {})
            if self._first is None and current:
                self._first = (current, now)
            self._show_now_and_then(now)

    def validates(self, current: int, target: int | None, logs: dict[str, Any] | None = None) -> None:
        """The steps of the epoch are done, and so are `current` of the `target` steps of its validation."""
        with self._lock:
            now = self._clock.monotonic_s()
            if self.target is not None:
                self._current = self.target
            self._logs = dict(logs or {}) or self._logs
            self._beside = f"validation {current}/{target or 'Unknown'}"
            self._show_now_and_then(now)

    def finish(self, logs: dict[str, Any] | None = None) -> None:
        """Print the line of the whole epoch; there is no active bar any more."""
        with self._lock:
            now = self._clock.monotonic_s()
            if logs is not None:
                self._logs = dict(logs)
            if self.target is None:
                self.target = self._current
            self._current, self._beside = self.target, ""
            self._show(now, done=True)
            if self._place == "terminal":
                self._print("\n")
            self._line = ""
            _end(self)

    def stop(self) -> None:
        """Leave the line as it stands, as when training ends in an error."""
        with self._lock:
            if self._line:
                self._print("\n")
            self._line = ""
            _end(self)

    def make_room(self) -> None:
        """Somebody else is about to print: on a terminal the line goes, until it is drawn again."""
        with self._lock:
            if self._line:
                self._print("\r\x1b[K")
                self._line = ""

    def note(self, text: str) -> None:
        """Print a line of its own: the bar makes room and comes back below."""
        with self._lock:
            line = self._line
            if line:
                self._print("\r\x1b[K")
            self._print(text + "\n")
            if line:
                self._print(line)

    # -- showing it -----------------------------------------------------------------------------------------------------------------

    def _show_now_and_then(self, now: float) -> None:
        is_long = self._place == "log" and now - self._start_s >= _LONG_S
        if now - self._drawn_s >= (_LONG_INTERVAL_S if is_long else _INTERVAL_S[self._place]):
            self._drawn_s = now
            self._show(now)

    def _show(self, now: float, *, done: bool = False) -> None:
        text = self._text(now, done=done)
        if self._output is not None:
            self._output.show(f"{self.title}\n{text}" if self.title else text)
        elif self._place == "terminal":
            self._draw(text, cut=not done)
        elif self._place == "log":
            self._print(text + "\n")
        else:
            self._print(f"{self.title} - {text}\n" if self.title else f"{text}\n")

    # -- the text -------------------------------------------------------------------------------------------------------------------

    def _text(self, now: float, *, done: bool) -> str:
        elapsed = now - self._start_s
        per_step = self._step_s(now)
        shown = _duration(elapsed if done or not self.target else per_step * (self.target - self._current))
        if self._place == "plain":
            parts = [f"{self._current}/{self.target or 'Unknown'}", shown, _per_step(per_step)]
        else:
            if self.target:
                filled = _WIDTH if done else _WIDTH * self._current // self.target
                count = f"{self._current:>{len(str(self.target))}}/{self.target} {'━' * filled}{'─' * (_WIDTH - filled)}"
            else:
                count = f"{self._current}/Unknown"
            if self._place == "log" and self.target and not done:  # its lines stand beside those of ends, which have seconds, too
                shown += " left"
            parts = [f"{count} {shown} {_per_step(per_step)}"]
        parts += [f"{name}: {_number(value)}" for name, value in self._logs.items()]
        return " - ".join([*parts, self._beside] if self._beside else parts)

    def _step_s(self, now: float) -> float:
        if not self._current:
            return 0.0
        if self._first is not None and self._current > self._first[0]:
            return (now - self._first[1]) / (self._current - self._first[0])
        return (now - self._start_s) / self._current

    def _draw(self, text: str, *, cut: bool = True) -> None:
        if cut:
            room = shutil.get_terminal_size().columns - 1  # a line that wraps cannot be taken back
            text = text if len(text) <= room else text[: max(0, room - 1)] + "…"
        self._line = text
        self._print("\r\x1b[K" + text)

    def _print(self, text: str) -> None:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:  # a terminal that knows ASCII only
            self._stream.write(text.replace("━", "=").replace("─", "-").replace("…", "~").encode("ascii", "replace").decode())
        self._stream.flush()


_drawn: list[weakref.ref[ProgressBar]] = []  # in the order of their starts; several where several threads train. The terminal is one.
_drawn_lock = threading.Lock()


def active_bar() -> ProgressBar | None:
    """The bar being drawn in this process, the newest of several, or None."""
    with _drawn_lock:
        return next((bar for reference in reversed(_drawn) if (bar := reference()) is not None), None)


def note(text: str) -> None:
    """Print a line, through the active bar if there is one; later, where a debugger asks at the terminal."""
    bar = active_bar()
    for line in to_say(text):
        if bar is not None:
            bar.note(line)
        else:
            print(line, flush=True)


def _begin(bar: ProgressBar) -> None:
    _end(bar)
    with _drawn_lock:
        _drawn.append(weakref.ref(bar))


def _end(bar: ProgressBar) -> None:
    with _drawn_lock:
        _drawn[:] = [reference for reference in _drawn if reference() not in (None, bar)]


def _is_terminal(stream: TextIO) -> bool:
    return bool(getattr(stream, "isatty", lambda: False)())


def _duration(seconds: float) -> str:
    whole = int(seconds)
    if whole >= 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
    return f"{whole // 60}:{whole % 60:02d}" if whole >= 60 else f"{round(seconds)}s"


def _per_step(seconds: float) -> str:
    if seconds >= 1 or seconds == 0:
        return f"{seconds:.0f}s/step"
    return f"{seconds * 1e3:.0f}ms/step" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us/step"


def _number(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_number, value)) + "]"
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:.4f}" if abs(value) > 1e-3 or value == 0 else f"{value:.4e}"
