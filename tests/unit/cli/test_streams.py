"""A command goes on when nobody reads what it prints, and when there is no room for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys
from disttrain.cli.streams import lasting_streams
with lasting_streams():
    print("first", flush=True)
    sys.stdin.readline()
    for number in range(20_000):
        print("line", number)
    print("on", file=sys.stderr)
"""
PAST_PYTHON = """
os.write(1, b"a library of C writes too")
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_ends_nothing(unbuffered):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM + PAST_PYTHON], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={"PYTHONUNBUFFERED": unbuffered, "PYTHONPATH": str(Path(__file__).parents[3])},
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stdin is not None and process.stderr is not None
        assert process.stdout.readline() == "first\n"
        process.stdout.close()
        process.stdin.write("\n")
        process.stdin.close()
        assert process.stderr.read() == "on\n"
        assert process.wait() == 0


def test_a_full_disk_under_the_log_ends_nothing():
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            env={"PYTHONPATH": str(Path(__file__).parents[3])},
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "on\n")
