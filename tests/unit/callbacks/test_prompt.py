"""What threads have to say while a debugger asks at the terminal."""

from __future__ import annotations

import pdb
import sys
import threading

from disttrain.callbacks.progress_bar import note
from disttrain.callbacks.prompt import prompt_is_open, to_say
from disttrain.rundir.timeline import Console


class Typing:
    """Standard input of a person who answers the prompt; another thread has something to say meanwhile."""

    def __init__(self) -> None:
        self.seen: list[bool] = []
        self.left = ["p 1 + 1\n", "c\n"]

    def readline(self) -> str:
        speaker = threading.Thread(target=self.speak)
        speaker.start()
        speaker.join()
        return self.left.pop(0)

    def speak(self) -> None:
        self.seen.append(prompt_is_open())
        Console().note("a worker is lost")
        note("[disttrain] and another")


def test_notes_wait_while_a_debugger_asks_and_come_in_order_afterwards(capsys):
    typing = Typing()
    debugger = pdb.Pdb(stdin=typing, stdout=sys.stdout, readrc=False, nosigint=True)
    debugger.use_rawinput = False
    debugger.set_trace()
    sys.settrace(None)
    held = capsys.readouterr().out
    assert typing.seen == [True, True] and "2" in held and "disttrain" not in held
    Console().note("the next one")
    assert capsys.readouterr().out.splitlines() == [
        "[disttrain] a worker is lost", "[disttrain] and another", "[disttrain] a worker is lost", "[disttrain] and another",
        "[disttrain] the next one",
    ]  # fmt: skip


def test_without_a_debugger_everything_is_said_at_once(capsys):
    Console().note("now")
    assert capsys.readouterr().out == "[disttrain] now\n"
    assert to_say() == []
