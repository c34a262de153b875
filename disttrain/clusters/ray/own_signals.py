"""Signals stay as they are while Ray starts.

Ray's C++ takes SIGTERM for itself as a driver begins: it prints a trace, passes the signal on, and aborts the process three seconds
later, whatever that is doing. No option turns that off, and it happens on whatever thread starts Ray, from where Python lets nobody set
a handler. So the kernel's own table is looked at, and put right, through Python's C interface.

Ray's processes are of our process group, and would die when a terminal hangs up, or when systemd, Slurm or `timeout` tell all of a job to
end, with the steps that we are about to keep. What the thread that starts them holds back, they hold back too, and so do the workers that
they start: who ends a run ends its driver, which tells them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_OF_THE_DRIVER = {signal.SIGHUP, signal.SIGTERM}
_LOOK_S = 0.02
_get = ctypes.pythonapi.PyOS_getsig
_get.restype, _get.argtypes = ctypes.c_void_p, [ctypes.c_int]
_set = ctypes.pythonapi.PyOS_setsig
_set.restype, _set.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]


@contextmanager
def own_signals() -> Iterator[None]:
    """Whatever takes a signal inside the block, past Python, loses it again within 20 ms.

    Processes begun inside it hear neither a hangup nor SIGTERM.
    """
    over = threading.Event()
    pythons = _handler_of_python()

    def watch() -> None:
        while not over.wait(_LOOK_S):
            put_right(pythons)

    watcher = threading.Thread(target=watch, name="own-signals", daemon=True)
    watcher.start()
    held_back = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_THE_DRIVER)  # of this thread alone
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held_back)
        over.set()
        watcher.join()
        put_right(pythons)


def let_children_hear() -> None:
    """For the thread of a worker that runs the script's code, where its process holds back what is the driver's: what it starts does not.

    SIGTERM then does nothing to this process. It is C that does nothing, so that a program that is started has the kernel's own way again.
    """
    held_back = _OF_THE_DRIVER & set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    if signal.SIGTERM not in held_back:
        return
    for number in held_back:
        _set(number, ctypes.cast(ctypes.CDLL(None).abs, ctypes.c_void_p).value)
    masks: list[Any] = []  # of the thread that forks; what a child is sent in its first moments waits until it is itself

    def in_child() -> None:
        for number in held_back:
            _set(number, None)
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop())

    os.register_at_fork(
        before=lambda: masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, held_back)),
        after_in_child=in_child,
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop()),
    )
    signal.pthread_sigmask(signal.SIG_UNBLOCK, held_back)


def put_right(pythons: int | None) -> None:
    """What Python believes of each signal is what the kernel does. `pythons`: the C function that calls Python's handlers."""
    for number in _NUMBERS:
        believed: Any = signal.getsignal(number)  # None: somebody's that Python never knew
        wanted = int(believed) if believed in (signal.SIG_DFL, signal.SIG_IGN) else pythons
        if believed is not None and wanted is not None and (_get(number) or 0) != wanted:
            _set(number, wanted)


def _handler_of_python() -> int | None:
    """None where Python handles no signal yet."""
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            return int(_get(number) or 0)
    return None
