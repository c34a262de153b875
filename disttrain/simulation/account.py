"""Where the time of a simulated run went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields


@dataclass(slots=True)
class Account:
    """Seconds by what they were spent on, and how often things happened.

    Args:
        counted: what the steps that counted take with all workers there.
        slower: what they took longer with fewer.
        redone: steps that were begun or even completed, and had to be done again.
        recovering: from a death, or from the call of a newcomer, to the next step.
        waiting: too few workers for a group.
        saves, callbacks: the workers stood for them.
        given_up: after the run had ended with an error.
        failures, outages, reforms, rollbacks: deaths of single workers, losses of all at once, generations formed, returns to a checkpoint.
        message: why it gave up.
    """

    counted: float = 0.0
    slower: float = 0.0
    redone: float = 0.0
    recovering: float = 0.0
    waiting: float = 0.0
    saves: float = 0.0
    callbacks: float = 0.0
    given_up: float = 0.0
    failures: int = 0
    outages: int = 0
    reforms: int = 0
    rollbacks: int = 0
    message: str = ""

    @property
    def seconds(self) -> float:
        """All of it."""
        return float(sum(getattr(self, name) for name in SPENT))

    @property
    def goodput(self) -> float:
        """The fraction of the time that went into steps that counted."""
        return self.counted / self.seconds

    @property
    def shares(self) -> dict[str, float]:
        """The fraction that each took."""
        return {name: getattr(self, name) / self.seconds for name in SPENT}

    @staticmethod
    def together(accounts: Iterable[Account]) -> Account:
        """All runs as one."""
        made = Account()
        for account in accounts:
            for name in (*SPENT, *HAPPENED):
                setattr(made, name, getattr(made, name) + getattr(account, name))
            made.message = made.message or account.message
        return made


SPENT = tuple(field.name for field in fields(Account) if field.type == "float")
HAPPENED = tuple(field.name for field in fields(Account) if field.type == "int")
