"""A process beside the driver ends with it, whoever else holds its standard input."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from disttrain.beside import Beside

LISTENS = """
import sys
sys.stdin.readline()
print(4321, flush=True)
sys.stdin.read()
"""


def test_it_ends_although_a_forked_process_holds_what_it_listens_to(tmp_path: Path):
    (tmp_path / "listens.py").write_text(LISTENS)
    beside = Beside(str(tmp_path / "listens.py"), "127.0.0.1", 0, "a secret", "nothing")
    assert beside.port == 4321
    child = os.fork()
    if child == 0:  # as a process that loads data
        signal.pause()
        os._exit(0)
    try:
        beside.end()
        assert beside.ended
        beside.end()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
