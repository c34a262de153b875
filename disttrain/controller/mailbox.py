"""Between the controller's thread and the script's: work for the callbacks goes one way, questions of the callbacks the other.

The controller posts work (`do`); the script's thread carries it out in `serve`, one piece after the other, and the results come back with
`answers`. While a piece runs, the callbacks in it may ask the controller something (`ask`) and wait for the reply. Nothing re-enters:
each thread only ever runs its own loop.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class Gone(BaseException):
    """What a callback waits for will never come, as every worker was lost. Ends the hook; it runs again once training is there again.

    No Exception: a callback that catches those must not go on with half of an answer.
    """


@dataclass(frozen=True)
class Done:
    """A piece of work has ended, with its result, or was given up (`Gone`)."""

    what: object
    result: Any = None
    given_up: bool = False


@dataclass
class Question:
    """What a callback wants of the controller, and later the reply."""

    what: object
    reply: Any = None
    error: BaseException | None = None
    answered: threading.Event = field(default_factory=threading.Event)

    def answer(self, reply: Any = None, error: BaseException | None = None) -> None:
        """Let the callback go on."""
        self.reply, self.error = reply, error
        self.answered.set()


class Mailbox:
    """The two queues, and the way out.

    Args:
        wake: called when the controller has something to look at.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self._wake = wake
        self._work: queue.SimpleQueue[tuple[object, Callable[[], Any]] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Done | Question] = queue.SimpleQueue()
        self._end: BaseException | None = None
        self._undone, self._ended = 0, False

    # -- the controller's side ------------------------------------------------------------------------------------------------------

    def do(self, what: object, action: Callable[[], Any]) -> None:
        """Let the script's thread run `action`; a `Done(what)` follows."""
        self._undone += 1
        self._work.put((what, action))

    def aside(self, action: Callable[[], Any]) -> None:
        """Let the script's thread run `action` between the others, unless the end comes first; nothing follows."""
        self._work.put((None, action))

    @property
    def idle(self) -> bool:
        """Has everything that was posted been done, as far as the controller has heard?"""
        return self._undone == 0

    def answers(self, timeout_s: float = 0.0) -> list[Done | Question]:
        """What came from the script's thread since the last look; waits up to `timeout_s` seconds for the first."""
        found: list[Done | Question] = []
        try:
            while True:
                answer = self._answers.get(timeout=timeout_s) if timeout_s and not found else self._answers.get_nowait()
                self._undone -= isinstance(answer, Done)
                found.append(answer)
        except queue.Empty:
            return found

    def end(self, error: BaseException | None = None) -> None:
        """Let `serve` return, or raise `error`, once it is through with what was posted before."""
        self._ended = True
        if self._end is None:
            self._end = error
        self._work.put(None)

    # -- the script's side ----------------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Do what is posted until the end. What an action raises passes through, but for `Gone`."""
        while (item := self._work.get()) is not None:
            what, action = item
            if what is None:
                if not self._ended:
                    action()
                continue
            try:
                done = Done(what, action())
            except Gone:
                done = Done(what, given_up=True)
            self._answers.put(done)
            self._wake()
        if self._end is not None:
            raise self._end

    def ask(self, what: object) -> Any:
        """Ask the controller, and wait for the reply. Called from within an action.

        Raises:
            Gone: there will be none.
        """
        question = Question(what)
        self._answers.put(question)
        self._wake()
        question.answered.wait()
        if question.error is not None:
            raise question.error
        return question.reply
