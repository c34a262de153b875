"""Real harm at exact places: the process that gets there kills itself with SIGKILL, once for all workers.

Places: `reduction` (as the contributions leave), `optimizer` (in the middle of the update), `checkpoint` (half of a shard written).
`gate` does no harm: the update after STEP others says so in a file `held-STEP` and waits for the test to make the file `gate-STEP`.
"""

import os
import signal
import time
from pathlib import Path

import numpy as np

from disttrain import layers, optimizers


class Slow(layers.Layer):
    """Identity that takes its time, so that a kill from outside finds the training at work; with a file, only as long as that is there."""

    def __init__(self, seconds=0.0, file="", **kwargs):
        super().__init__(**kwargs)
        self.seconds, self.file = seconds, file

    def call(self, x):
        if self.seconds and (not self.file or Path(self.file).exists()):
            time.sleep(self.seconds)
        return x


class Saboteur(optimizers.Adam):
    """Adam that does what `plan` says: a list of (place, step, rank), `marks` being where it is noted that it was done."""

    def __init__(self, *args, plan=(), marks="", **kwargs):
        super().__init__(*args, **kwargs)
        self.plan, self.marks = list(plan), marks
        self.patched = False

    def update(self, params, grads, slots, step, learning_rate):
        self._patch()
        if any(where == "gate" and when == step for where, when, _ in self.plan):
            Path(self.marks, f"held-{step}").touch()
            end = time.monotonic() + 600  # a guard, that no process waits for ever
            while not Path(self.marks, f"gate-{step}").exists() and time.monotonic() < end:
                time.sleep(0.02)
        if self._due("optimizer", step):
            half = params[0].view(-1)[: params[0].numel() // 2]
            half.add_(1.0)  # a half-done update is what the others must never see
            die()
        super().update(params, grads, slots, step, learning_rate)

    def _due(self, place, step):
        for number, (where, when, rank) in enumerate(self.plan):
            if where == place and when == step and (rank is None or rank == _rank()) and self._first(number):
                return True
        return False

    def _first(self, number):
        try:
            Path(self.marks, f"done-{number}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _patch(self):
        """Put the other places' traps into this process, at its first update."""
        if self.patched or not self.plan:
            return
        self.patched = True
        from disttrain.checkpoint.local_files import LocalFiles
        from disttrain.collectives.torch_group import TorchGroup

        saboteur, gather, write = self, TorchGroup.all_gather, LocalFiles.write

        def all_gather(group, output, input):
            _state["rank"] = group.rank
            pending = gather(group, output, input)
            if saboteur._due("reduction", saboteur.iterations + 1):
                time.sleep(0.002)  # some of the bytes leave
                die()
            return pending

        def write_half(files, path, chunks):
            if saboteur._due("checkpoint", saboteur.iterations):
                whole = b"".join(bytes(np.asarray(memoryview(chunk)).tobytes()) for chunk in chunks)
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                Path(path).write_bytes(whole[: len(whole) // 2])
                die()
            return write(files, path, chunks)

        TorchGroup.all_gather, LocalFiles.write = all_gather, write_half


_state = {"rank": None}


def _rank():
    return _state["rank"]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def armed(optimizer, text, marks):
    """`optimizer`, or a saboteur with its settings where `text` names acts."""
    if not text:
        return optimizer
    plan = []
    for act in text.split(","):
        place, step, rank = act.split(":")
        plan.append((place, int(step), None if rank == "any" else int(rank)))
    return Saboteur(optimizer.learning_rate, plan=plan, marks=marks)
