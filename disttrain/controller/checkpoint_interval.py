"""When to save: after so many steps, so many seconds, or at the end of each epoch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from disttrain.errors import UsageError

_EVERY = re.compile(r"(\d+(?:\.\d+)?)\s*(steps?|s|sec|seconds?|m|min|minutes?|h|hours?)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class CheckpointInterval:
    """When to save beside the end of each fit: after so many optimizer steps, so many seconds, or at the end of each epoch."""

    steps: int | None = None
    seconds: float | None = None
    epoch: bool = False

    @staticmethod
    def parse(text: str) -> CheckpointInterval:
        """From `100steps`, `30s`, `5min` or `epoch`.

        Raises:
            UsageError: anything else.
        """
        text = text.strip().lower()
        if text in ("epoch", "1epoch"):
            return CheckpointInterval(epoch=True)
        found = _EVERY.fullmatch(text)
        number = float(found[1]) if found else 0.0
        if found is None or number <= 0 or (found[2].startswith("step") and number != int(number)):
            raise UsageError(f"--checkpoint-every {text!r}: expected steps, seconds or epoch, such as 100steps, 30s, 5min or epoch.")
        if found[2].startswith("step"):
            return CheckpointInterval(steps=int(number))
        return CheckpointInterval(seconds=number * _SECONDS[found[2][0]])
