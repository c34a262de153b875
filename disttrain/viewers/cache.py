"""What was computed once, kept until newer things need its memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any


class BoundedCache:
    """The values used last, of which the sizes together stay within a limit. For many threads.

    Args:
        limit_bytes: what all sizes may add up to. A value that is larger alone is not kept.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Hashable) -> Any:
        """The value, which becomes the one used last; None where there is none."""
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return self._held[key][0]

    def put(self, key: Hashable, value: Any, size_bytes: int) -> None:
        """Keep a value, and let go of those that were used longest ago."""
        with self._lock:
            if key in self._held:
                self.size_bytes -= self._held.pop(key)[1]
            if size_bytes > self._limit_bytes:
                return
            self._held[key] = (value, size_bytes)
            self.size_bytes += size_bytes
            while self.size_bytes > self._limit_bytes:
                _, (_, freed_bytes) = self._held.popitem(last=False)
                self.size_bytes -= freed_bytes
