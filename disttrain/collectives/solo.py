"""A group of one: nothing moves but copies."""

from __future__ import annotations

import threading
from collections.abc import Callable

from torch import Tensor


class _Done:
    def wait(self) -> None:
        return


class SoloGroup:
    """One member, who is everybody."""

    rank = 0
    size = 1
    usable = True  # nobody can break it
    on_wait: Callable[[bool], None] | None = None  # never called: nothing waits

    def all_gather(self, output: Tensor, input: Tensor) -> _Done:
        output.copy_(input)
        return _Done()

    def all_to_all(self, output: Tensor, input: Tensor, output_splits: list[int], input_splits: list[int]) -> _Done:
        output.copy_(input)
        return _Done()

    def broadcast(self, tensor: Tensor, source: int) -> _Done:
        return _Done()

    def rebind(self, aborted: threading.Event) -> None:
        return

    def abort(self) -> None:
        return

    def close(self) -> None:
        return
