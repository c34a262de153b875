"""Why the viewer does not answer what it was asked: a status of HTTP and one readable message."""

from __future__ import annotations


class Refusal(Exception):
    """What a person reads in the page instead of a picture.

    Args:
        status: the status of HTTP, 400 to 599.
        message: what was wrong, what was expected, what to do.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status, self.message = status, message

    def __str__(self) -> str:
        return self.message
