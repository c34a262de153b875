"""What the driver keeps of a call does not grow with its boundaries: a run of weeks has millions."""

from __future__ import annotations

from collections import deque
from typing import Any

from thread_runs import driven, train

import disttrain as dt


def sizes(thing: Any, path: str, found: dict[str, int], seen: set[int]) -> dict[str, int]:
    """The lengths of all containers that objects of the runtime keep, by where they lie; what is bounded by itself is left out."""
    if id(thing) in seen:
        return found
    seen.add(id(thing))
    if isinstance(thing, list | dict | set) or (isinstance(thing, deque) and thing.maxlen is None):
        found[path] = len(thing)
    if isinstance(thing, list | deque):
        for value in list(thing)[:4]:
            sizes(value, f"{path}[]", found, seen)
    elif isinstance(thing, dict):
        for value in list(thing.values())[:4]:
            sizes(value, f"{path}{{}}", found, seen)
    elif type(thing).__module__.startswith(("disttrain.controller", "disttrain.rundir", "disttrain.orchestrator")):
        names = getattr(thing, "__dict__", None) or {name: getattr(thing, name, None) for name in getattr(type(thing), "__slots__", ())}
        for name, value in list(names.items()):
            sizes(value, f"{path}.{name}", found, seen)
    return found


class Looks(dt.Callback):
    """Looks at the sizes after some batches."""

    def __init__(self, *batches: int) -> None:
        super().__init__()
        self.batches, self.count, self.seen = batches, 0, []

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1
        if self.count in self.batches:
            self.seen.append(sizes(self.look(), "controller", {}, set()))


def test_nothing_that_the_driver_keeps_of_a_call_grows_with_its_boundaries(tmp_path):
    looks = Looks(60, 300)
    with driven(2, url=str(tmp_path), every="3steps") as driver:
        looks.look = lambda: driver.controller
        train([looks, dt.callbacks.EarlyStopping("loss", patience=10**6, restore_best_weights=True)], epochs=101)
    before, after = looks.seen
    assert len(before) > 20 and any("committer" in path for path in before)
    grown = {path: (before.get(path, 0), size) for path, size in after.items() if size > before.get(path, 0) + 12}
    assert not grown
