"""What a step frees is kept for the next one, where glibc serves memory and nobody has said otherwise."""

import json
import os
import subprocess
import sys

import pytest

from disttrain.training.allocator import SWITCH, may_be_told

try:
    ON_GLIBC = bool(os.confstr("CS_GNU_LIBC_VERSION"))
except (AttributeError, OSError, ValueError):
    ON_GLIBC = False

SCRIPT = """
import ctypes, json, os, resource, sys, threading
import numpy as np
import disttrain as dt
from disttrain import layers
from disttrain.training.allocator import keep_freed_memory

class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Mallinfo
found = {}

def mapped(megabytes):
    "Is a piece of this size mapped by itself?"
    before = mallinfo().hblks
    piece = np.empty(megabytes << 20, np.uint8)
    return mallinfo().hblks - before == 1

def step():
    "Outputs of 40 MB, all written, all freed."
    return sum(float(piece[0]) for piece in [np.full(8 << 17, 1.0) for _ in range(5)])

def faults():
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt

def steps():
    step(), step()
    before = faults()
    for _ in range(20):
        step()
    found[threading.current_thread().name] = faults() - before

found["imported"] = mapped(8)
model = dt.Sequential([layers.Input((3,)), layers.Dense(1)])
model.compile("sgd", "mse")
calls = {
    "fit": lambda: model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0),
    "evaluate": lambda: model.evaluate(np.ones((4, 3)), np.ones((4, 1)), verbose=0),
    "predict": lambda: model.predict(np.ones((4, 3)), verbose=0),
    "train_on_batch": lambda: model.train_on_batch(np.ones((4, 3)), np.ones((4, 1))),
}
for name in sys.argv[1:]:
    if os.fork():  # each in a process of its own, which has loaded all that this one has and done nothing yet
        assert os.wait()[1] == 0
        continue
    calls[name]()
    found["called"] = mapped(24)  # more than glibc has adapted to by then
    if name == "fit":
        threading.current_thread().name = "main"
        steps()
        thread = threading.Thread(target=steps, name="other")
        thread.start()
        thread.join()
    print(json.dumps({name: found}), flush=True)
    os._exit(0)
"""
PAGES_OF_A_STEP = (40 << 20) // 4096


def outcome(*calls: str, **settings: str) -> dict:
    """What was found in each call."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", SWITCH))}
    done = subprocess.run([sys.executable, "-c", SCRIPT, *calls], env={**ours, **settings}, capture_output=True, text=True, check=True)
    return {name: found for line in done.stdout.splitlines() for name, found in json.loads(line).items()}


needs_glibc = pytest.mark.skipif(not ON_GLIBC, reason="another C library than glibc")


@needs_glibc
def test_every_kind_of_call_sees_to_it_and_steps_then_take_no_new_pages_in_any_thread():
    kinds = ("fit", "evaluate", "predict", "train_on_batch")
    found = outcome(*kinds)
    assert [(found[kind]["imported"], found[kind]["called"]) for kind in kinds] == [(True, False)] * len(kinds)
    assert max(found["fit"]["main"], found["fit"]["other"]) < PAGES_OF_A_STEP  # in 20 steps; else each takes so many again


@needs_glibc
@pytest.mark.parametrize("settings", [{SWITCH: "0"}, {"MALLOC_MMAP_THRESHOLD_": "131072"}], ids=str)
def test_who_says_otherwise_is_heard(settings):
    assert outcome("evaluate", **settings)["evaluate"]["called"]


@pytest.mark.parametrize(
    "environ",
    [
        {SWITCH: "0"},
        {"MALLOC_TRIM_THRESHOLD_": "1"},
        {"MALLOC_TOP_PAD_": "1"},
        {"MALLOC_MMAP_MAX_": "0"},
        {"GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=1024:glibc.malloc.trim_threshold=128"},
    ],
    ids=str,
)
def test_settings_of_malloc_that_are_there_stay(environ):
    assert not may_be_told(environ)


@pytest.mark.parametrize("environ", [{}, {SWITCH: "1"}, {SWITCH: ""}, {"GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=1024"}], ids=str)
def test_without_any_malloc_is_ours_to_set(environ):
    assert may_be_told(environ)
