"""The loop of a process that is measured: it makes a model once, then does pieces of work as it is told, and says what each cost.

A line `train`, `train and accuracy`, `evaluate`, `predict`, `call one` or `predict one` on standard input is answered by a line of JSON
with `cpu_s`, CPU time of all threads of this process, `wall_s`, and `steps`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

Work = Callable[[], int]  # does the work and gives the number of steps or calls

ONE_SAMPLE_CALLS = 300


def serve(pieces: dict[str, Work]) -> None:
    """Do what standard input asks for until it ends; each kind of work is done once unmeasured, when it is first asked for."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print must not look like an answer
    print("ready", file=answers, flush=True)
    warm: set[str] = set()
    for line in sys.stdin:
        kind = line.strip()
        work = pieces[kind]
        if kind not in warm:
            warm.add(kind)
            work()
        cpu, wall = time.process_time(), time.perf_counter()
        steps = work()
        print(
            json.dumps({"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall, "steps": steps}), file=answers, flush=True
        )


def repeated(call: Callable[[], object]) -> Work:
    """Work that is many calls of one sample."""

    def work() -> int:
        for _ in range(ONE_SAMPLE_CALLS):
            call()
        return ONE_SAMPLE_CALLS

    return work
