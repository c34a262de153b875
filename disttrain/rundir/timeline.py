"""What a launch prints beside the progress bar: one short line for each event, and the table of timings."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from disttrain.callbacks.progress_bar import active_bar


class Console:
    """Prints notes without breaking the progress bar, and keeps the timeline."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._stream, self._quiet = stream, quiet
        self.events: list[dict[str, Any]] = []
        self.changed = False

    def note(self, text: str) -> None:
        """Print one line for people."""
        if self._quiet:
            return
        bar = active_bar()
        if bar is not None:
            bar.note(f"[disttrain] {text}")
        else:
            print(f"[disttrain] {text}", file=self._stream or sys.stdout, flush=True)

    def event(self, kind: str, text: str | None = None, **details: Any) -> None:
        """Put something on the timeline, and print `text` if there is one."""
        self.events.append({"time": round(time.time(), 3), "event": kind, **details})
        self.changed = True
        if text is not None:
            self.note(text)
