"""The port: what the runtime asks of a group of workers, whoever carries the bytes."""

from __future__ import annotations

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

    All tensors are contiguous and of one dtype per call. Inputs must stay untouched until `wait` has returned.
    """

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

    def abort(self) -> None:
        """Make every present and future wait of this group raise `GroupBroken`, from any thread."""

    def close(self) -> None:
        """Let go of the group without waiting for anybody."""
