"""What happens in a launch: kept as a timeline until it is written, and told to people, one short line for each event."""

from __future__ import annotations

import json
import sys
import threading
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Any, TextIO

from disttrain.callbacks.progress_bar import active_bar
from disttrain.callbacks.prompt import to_say
from disttrain.clock import Clock, SystemClock
from disttrain.redaction import hidden, hidden_values
from disttrain.rundir.prints import Prints

_RECENT = 2000
_UNWRITTEN = 10_000  # so many wait for storage that is away; then the oldest go, and how many is said
_AT_ONCE = 200


@dataclass(frozen=True)
class Unwritten:
    """The oldest events that are not written yet.

    Attributes:
        lines: of JSON; the first one may say how many events were dropped.
        first, end: the numbers of the first of them and of the one after the last.
        dropped: what that line says.
    """

    lines: tuple[str, ...]
    first: int
    end: int
    dropped: int


class Timeline:
    """Events in order: the newest for whoever asks, and those that are not written yet. Any thread may use it.

    Args:
        clock: gives the time of an event.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._lock = threading.Lock()
        self._recent: deque[dict[str, Any]] = deque(maxlen=_RECENT)
        self._waiting: deque[str] = deque()
        self._first = 0  # the number of the first one that waits
        self._dropped = 0

    def add(self, kind: str, /, **details: Any) -> None:
        """Something happened. `details` in JSON types, as they are now; of another type, what it prints as is kept."""
        event = {"time": round(self._clock.wall_s(), 3), "event": kind, **hidden_values(details)}
        line = json.dumps(event, default=_plain)
        with self._lock:
            self._recent.append(event)
            self._waiting.append(line)
            if len(self._waiting) > _UNWRITTEN:
                self._waiting.popleft()
                self._first, self._dropped = self._first + 1, self._dropped + 1

    @property
    def events(self) -> list[dict[str, Any]]:
        """The newest, oldest first."""
        with self._lock:
            return list(self._recent)

    def unwritten(self) -> Unwritten | None:
        """Some events that are to be written next; None when all are. They stay until `written` is called."""
        with self._lock:
            if not self._waiting:
                return None
            lines = tuple(islice(self._waiting, _AT_ONCE))
            first, dropped = self._first, self._dropped
        if dropped:
            gap = {"time": round(self._clock.wall_s(), 3), "event": "events dropped", "count": dropped}
            return Unwritten((json.dumps(gap), *lines), first, first + len(lines), dropped)
        return Unwritten(lines, first, first + len(lines), 0)

    def written(self, events: Unwritten) -> None:
        """They are safe."""
        with self._lock:
            self._dropped -= events.dropped + max(0, min(self._first, events.end) - events.first)  # some may have been dropped meanwhile
            while self._first < events.end:
                self._waiting.popleft()
                self._first += 1


class Console:
    """Prints notes without breaking the progress bar, and puts events on the timeline.

    Args:
        stream: where to print; standard output, as it is then, unless told.
        quiet: print nothing.
        clock: gives the time of an event.
    """

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False, clock: Clock | None = None) -> None:
        self._stream, self._quiet = stream, quiet
        self.timeline, self.prints = Timeline(clock), Prints(clock)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The newest of the timeline, oldest first."""
        return self.timeline.events

    def note(self, text: str) -> None:
        """Print one line for people; later, where a debugger asks at the terminal."""
        if self._quiet:
            return
        text = hidden(text)
        bar = active_bar()
        for line in to_say(f"[disttrain] {text}"):
            if bar is not None:
                bar.note(line)
            else:
                print(line, file=self._stream or sys.stdout, flush=True)

    def printed(self, worker: str, rank: int | None, stream: str, text: str) -> None:
        """A worker printed these lines: tell them with its name, and keep them."""
        self.prints.add(worker, stream, text, rank)
        self.note(f"({worker}) {text}")

    def event(self, kind: str, text: str | None = None, /, **details: Any) -> None:
        """Put something on the timeline, and print `text` if there is one."""
        self.timeline.add(kind, **details)
        if text is not None:
            self.note(text)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else repr(value)
