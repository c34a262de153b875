"""Samples that cannot be made. Where the call says so they are left out of the order: an event, decided once and replayed ever after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CHOICES = ("raise", "skip")


@dataclass(frozen=True, slots=True)
class Skip:
    """A sample that is left out of a pass.

    Args:
        phase: of the call, such as "train".
        data_pass, place: where it stood in the order.
        number: of the sample.
        why: for people.
    """

    phase: str
    data_pass: int
    place: int
    number: int
    why: str


class BadSample(Exception):
    """A sample of a slice could not be made.

    Args:
        offset: which one of the slice.
        number: of the sample.
        why: for people.

    Attributes:
        skip: what follows, set by who knows where the slice stands.
    """

    skip: Skip

    def __init__(self, offset: int, number: int, why: str) -> None:
        super().__init__(why)
        self.offset, self.number, self.why = offset, number, why

    def __reduce__(self) -> tuple[Any, ...]:
        return BadSample, (self.offset, self.number, self.why)
