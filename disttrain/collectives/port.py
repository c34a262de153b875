"""The port: what the runtime asks of a group of workers, whoever carries the bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from torch import Tensor


class GroupBroken(Exception):
    """A member is gone or the generation was aborted: leave the collective, keep the state, wait to be re-formed."""


class Pending(Protocol):
    """A collective under way."""

    def wait(self) -> None:
        """Return when the output is complete; raise `GroupBroken` when it never will be."""


class Group(Protocol):
    """The members of one generation. Every member calls the same operations in the same order.

    All tensors are contiguous and of one dtype per call. Inputs must stay untouched until `wait` has returned. Where it raised
    `GroupBroken`, bytes may still arrive in the outputs: make new ones for the next generation. One thread uses a group; others may
    `abort` it.

    Attributes:
        on_wait: called with True when a wait begins that has to wait, with False when it ends, by the thread that waits; or None.
            It must be quick and must not raise.
    """

    on_wait: Callable[[bool], None] | None

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def all_gather(self, output: Tensor, input: Tensor) -> Pending:
        """`output` (size * n,) becomes every member's `input` (n,), in rank order."""

    def all_to_all(self, output: Tensor, input: Tensor, output_splits: list[int], input_splits: list[int]) -> Pending:
        """Run `r` of `input` (lengths `input_splits`) goes to member r; `output` is what each member sent here, in rank order."""

    def broadcast(self, tensor: Tensor, source: int) -> Pending:
        """`tensor` becomes the one of member `source`."""

    @property
    def usable(self) -> bool:
        """Whether another generation of the same members may go on with this group, as far as this member can tell.

        False for ever once it broke, was aborted or closed; and as long as an operation has not been waited for. A member that died while
        nobody sent anything is not noticed here.
        """

    def rebind(self, aborted: threading.Event) -> None:
        """Go on in another generation, whose abort flag is `aborted`. Raises `GroupBroken` where the group is not `usable`."""

    def abort(self) -> None:
        """Make every present and future wait of this group raise `GroupBroken`, from any thread."""

    def close(self) -> None:
        """Let go of the group, its threads, sockets and tensors, without waiting for anybody. Never raises; may be called again."""
