"""When to save: after so many steps, so many seconds, or at the end of each epoch."""

from __future__ import annotations

from dataclasses import dataclass

from disttrain import quantities
from disttrain.errors import UsageError


@dataclass(frozen=True, slots=True)
class CheckpointInterval:
    """When to save beside the end of each fit: after so many optimizer steps, so many seconds, or at the end of each epoch."""

    steps: int | None = None
    seconds: float | None = None
    epoch: bool = False

    @staticmethod
    def parse(text: str, option: str = "--checkpoint-every") -> CheckpointInterval:
        """From `100steps`, `30s`, `5min` or `epoch`; `option` is named where that cannot be read.

        Raises:
            UsageError: anything else.
        """
        text = text.strip().lower()
        if text in ("epoch", "1epoch"):
            return CheckpointInterval(epoch=True)
        found, seconds = quantities.split(text), quantities.seconds_of(text)
        if found is not None and found[1] in ("step", "steps") and found[0] > 0 and found[0] == int(found[0]):
            return CheckpointInterval(steps=int(found[0]))
        if not seconds:
            raise UsageError(f"{option} {text!r}: expected steps, seconds or epoch, such as 100steps, 30s, 5min or epoch.")
        return CheckpointInterval(seconds=seconds)
